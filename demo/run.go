package demo

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// Run is a run of sample tasks.
type Run struct {
	pool     *pgxpool.Pool
	receiver *Receiver
	samples  []Sample
}

// Start inserts n sample tasks, whose callbacks go to the receiver. The receiver
// must have subscribed. number is that of the run on its database, from 1: each has
// tasks of its own.
func Start(ctx context.Context, pool *pgxpool.Pool, receiver *Receiver, n, number int) (*Run, error) {
	r := &Run{pool: pool, receiver: receiver, samples: samples(n, number)}
	return r, insert(ctx, pool, receiver.url+callbackPath, r.samples)
}

// Progress is how far a run is.
type Progress struct {
	Task     *db.TaskStatus // the one that ended just now; nil: none did
	Ended    int            // tasks
	Verified int            // webhooks
}

// deliveriesLook is how often Follow looks for webhooks that have not arrived.
const deliveriesLook = 250 * time.Millisecond

// Follow returns when all samples have ended, their files are kept, and every webhook about
// them has arrived or was given up, or with the error of ctx. It reports each task that ends.
func (r *Run) Follow(ctx context.Context, report func(Progress)) error {
	ids := make([]int64, len(r.samples))
	for i, sample := range r.samples {
		ids[i] = sample.ID
	}
	ended := 0
	progress := func(task *db.TaskStatus) { report(Progress{task, ended, r.receiver.Verified()}) }
	err := operate.Wait(ctx, r.pool, ids, func(task db.TaskStatus) {
		ended++
		progress(&task)
	})
	if err != nil {
		return err
	}
	for {
		files, err := db.GetArchiveProgress(ctx, r.pool, ids...)
		if err != nil {
			return fmt.Errorf("counting the files that are not kept yet: %w", err)
		}
		waiting, err := db.PendingDeliveries(ctx, r.pool, ids) // after the files: the last one has one more
		if err != nil {
			return fmt.Errorf("counting the webhooks that have not arrived: %w", err)
		}
		progress(nil)
		if files.Pending == 0 && waiting == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(deliveriesLook):
		}
	}
}

// Row is what became of a sample.
type Row struct {
	Sample
	Status   string
	Polls    int
	Webhooks int
	Files    int    // that are kept
	Wrong    string // what is not as expected; "": nothing
}

// Compare compares what became of the samples with what was expected.
func (r *Run) Compare(ctx context.Context) ([]Row, error) {
	rows := make([]Row, len(r.samples))
	for i, sample := range r.samples {
		task, err := operate.FindTask(ctx, r.pool, strconv.FormatInt(sample.ID, 10))
		if err != nil {
			return nil, fmt.Errorf("reading sample task %s: %w", sample.TaskID, err)
		}
		deliveries, err := db.DeliveriesOfTask(ctx, r.pool, sample.ID)
		if err != nil {
			return nil, fmt.Errorf("reading the webhooks of sample task %s: %w", sample.TaskID, err)
		}
		files, err := db.GetArchiveProgress(ctx, r.pool, sample.ID)
		if err != nil {
			return nil, fmt.Errorf("counting the files of sample task %s: %w", sample.TaskID, err)
		}
		rows[i] = Row{sample, task.Status, task.Polls, len(deliveries), files.Stored, r.receiver.check(sample, deliveries)}
		switch {
		case task.Status != sample.Expect:
			rows[i].Wrong = "expected " + sample.Expect
		case files.Missing > 0:
			rows[i].Wrong = fmt.Sprintf("%d files are not kept", files.Missing)
		}
	}
	return rows, nil
}
