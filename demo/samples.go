package demo

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// Sample is a task whose end is known beforehand.
type Sample struct {
	ID     int64  // ours
	TaskID string // the provider's
	Path   string // action/action2
	Expect string // status at the end
}

// kinds are the samples that are taken in turn: the simulator goes by the words
// in front of an id.
var kinds = []struct{ path, words, expect string }{
	{"images/generations", "CjMT7WdSwWcAAAAAALvB3g", db.Succeeded}, // the id of the relay's documentation
	{"videos/text2video", "ok", db.Succeeded},
	{"videos/image2video", "newapi", db.Succeeded},
	{"images/kolors-virtual-try-on", "fail", db.Failed},
	{"videos/lip-sync", "throttle", db.Succeeded},
	{"audio/video-to-audio", "ok", db.Succeeded},
	{"videos/text2video", "unknown", db.NotFound},
	{"videos/avatar/image2video", "error500", db.Succeeded},
	{"general/ai-multi-shot", "flat", db.Succeeded},
	{"videos/effects", "garbage", db.Succeeded},
	{"videos/text2video", "never", db.Expired},
	{"images/omni-image", "late", db.Succeeded},
	{"audio/text-to-audio", "weird", db.Succeeded},
	{"videos/video-extend", "fail-newapi", db.Failed},
	{"videos/omni-video", "cut", db.Succeeded},
}

// neverDeadline is the deadline of the task that never ends.
const neverDeadline = 6 * time.Second

// samples returns the first n samples of a run; the very first has its words alone as its
// id.
func samples(n, run int) []Sample {
	list := make([]Sample, n)
	for i := range list {
		kind := kinds[i%len(kinds)]
		list[i] = Sample{TaskID: kind.words, Path: kind.path, Expect: kind.expect}
		switch {
		case run > 1:
			list[i].TaskID += fmt.Sprintf("-%d-%d", run, i)
		case i > 0:
			list[i].TaskID += "-" + strconv.Itoa(i)
		}
	}
	return list
}

// insert inserts samples as a backend app would, and fills in our ids.
func insert(ctx context.Context, pool *pgxpool.Pool, callbackURL string, list []Sample) error {
	tasks := make([]db.NewTask, len(list))
	for i, sample := range list {
		action, action2, _ := strings.Cut(sample.Path, "/")
		tasks[i] = db.NewTask{TaskID: sample.TaskID, Action: action, Action2: action2, CallbackURL: &callbackURL}
		if sample.Expect == db.Expired {
			deadline := neverDeadline
			tasks[i].DeadlineIn = &deadline
		}
	}
	tracked, err := operate.Track(ctx, pool, tasks)
	if err != nil {
		return fmt.Errorf("inserting the sample tasks: %w", err)
	}
	for i := range list {
		list[i].ID = tracked[i].ID
	}
	return nil
}
