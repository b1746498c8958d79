package archives

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/klingwatch/klingwatch/worker/keep"
)

// verdict is what became of files.
type verdict struct {
	stored, lost, doubled, wrong int
	spooled, left                int   // spool files before and after it is cleaned
	unclaimed                    int64 // keys that are claimed and of no row
	faults                       []string
}

func (v *verdict) fault(count *int, format string, args ...any) {
	*count++
	v.faults = append(v.faults, fmt.Sprintf(format, args...))
}

// spoolAge is more than what files of the spool must have to be cleaned away.
const spoolAge = 25 * time.Hour

// judge compares the rows and the store with the files that were to be kept, once what is
// due a day later has been removed. Nothing works on them any more.
func judge(ctx context.Context, on scene, k kill) (v verdict, err error) {
	if err := v.tidy(ctx, on); err != nil {
		return v, err
	}
	rows, err := readRows(ctx, on.d.Pool)
	if err != nil {
		return v, err
	}
	v.judgeRows(rows, k)
	var told []string
	for _, r := range rows {
		if r.Key == "" {
			continue
		}
		told = append(told, r.Key)
		if r.Thumbnail != "" {
			told = append(told, r.Thumbnail)
		}
		sum, size, err := sumOf(ctx, on.place, r.Key)
		if err != nil {
			v.fault(&v.lost, "task %d: %v", r.Task, err)
		} else if sum != r.SHA256 || size != r.Bytes {
			v.fault(&v.wrong, "task %d: its file in the store has %d bytes and the sha256 %s", r.Task, size, sum)
		}
	}
	kept, err := on.place.keys()
	v.judgeStore(told, kept)
	return v, err
}

// tidy does what the service does an hour and a day later.
func (v *verdict) tidy(ctx context.Context, on scene) (err error) {
	if v.unclaimed, err = dueRemovals(ctx, on.d.Pool); err != nil {
		return err
	}
	if _, err := keep.RemoveUnused(ctx, on.d.Pool, on.place.store); err != nil {
		return err
	}
	before, err := on.place.spooled()
	if err != nil {
		return err
	}
	if err := on.place.ageSpool(spoolAge); err != nil {
		return err
	}
	if err := keep.CleanUp(ctx, on.place.store); err != nil {
		return err
	}
	after, err := on.place.spooled()
	v.spooled, v.left = len(before), len(after)
	return err
}

// judgeRows looks for one row and one event per file, with the true sha256.
func (v *verdict) judgeRows(rows []row, k kill) {
	byTask := map[int][]row{}
	for _, r := range rows {
		byTask[r.Task] = append(byTask[r.Task], r)
	}
	for task := 1; task <= k.files; task++ {
		of, file := byTask[task], k.fileOf(task)
		switch {
		case len(of) == 0:
			v.fault(&v.lost, "task %d has no row of a file", task)
			continue
		case len(of) > 1:
			v.fault(&v.doubled, "task %d has %d rows of a file", task, len(of))
		}
		r := of[0]
		switch {
		case r.State != "stored":
			v.fault(&v.lost, "task %d: its file is %s: %s", task, r.State, r.Reason)
			continue
		case r.Archived == 0:
			v.fault(&v.lost, "task %d has no event task.archived", task)
		case r.Archived > 1:
			v.fault(&v.doubled, "task %d has %d events task.archived", task, r.Archived)
		}
		if r.SHA256 != file.SHA256() || r.Bytes != file.Size {
			v.fault(&v.wrong, "task %d: its row has %d bytes and the sha256 %s", task, r.Bytes, r.SHA256)
		}
		v.stored++
	}
}

// judgeStore compares the keys that rows tell of with those in the store.
func (v *verdict) judgeStore(told, kept []string) {
	for _, key := range kept {
		if !slices.Contains(told, key) {
			v.fault(&v.doubled, "no row tells of %s, which is in the store", key)
		}
	}
	for _, key := range told {
		if !slices.Contains(kept, key) {
			v.fault(&v.lost, "%s is not in the store", key)
		}
	}
}

// sumOf reads a file from the store.
func sumOf(ctx context.Context, p place, key string) (sum string, size int64, err error) {
	content, err := p.store.Open(ctx, key)
	if err != nil {
		return "", 0, err
	}
	defer content.Close()
	hash := sha256.New()
	size, err = io.Copy(hash, content)
	return hex.EncodeToString(hash.Sum(nil)), size, err
}
