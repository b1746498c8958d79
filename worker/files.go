package worker

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/worker/keep"
	"github.com/klingwatch/klingwatch/worker/poll"
)

// archiveArgs is the job of one file; the trigger on outputs inserts it.
type archiveArgs struct {
	ID int64 `json:"id"` // outputs.archive_id
}

func (archiveArgs) Kind() string { return "archive" }

// archiveWorker has files kept.
type archiveWorker struct {
	river.WorkerDefaults[archiveArgs]
	keeper *keep.Keeper
	asked  *poll.Relays
	clocks *clocks
}

// newArchiveWorker returns nil where files are not kept.
func newArchiveWorker(cfg Config, asked *poll.Relays, c *clocks) *archiveWorker {
	if cfg.Archive == nil {
		return nil
	}
	return &archiveWorker{asked: asked, clocks: c, keeper: keep.New(keep.Config{
		Pool: cfg.Pool, Store: cfg.Archive.Store, Client: cfg.Archive.Client, Tools: cfg.Archive.Tools, PublicURL: cfg.Archive.PublicURL, Log: cfg.Log,
		Deadline: cfg.TaskDeadline, OrderWait: cfg.Metrics.ObserveOrderWait, Counted: cfg.Metrics.CountFile,
	})}
}

// Timeout is none: a large file may take long, and one that stalls is given up. Those of a
// dead process are given back by the others.
func (a *archiveWorker) Timeout(*river.Job[archiveArgs]) time.Duration { return -1 }

// Work tries once to keep the file.
func (a *archiveWorker) Work(ctx context.Context, job *river.Job[archiveArgs]) error {
	wait, again, err := a.keeper.Keep(ctx, a.asked, job.Args.ID)
	if err != nil || !again {
		return err
	}
	return a.clocks.snooze(ctx, wait)
}

// filesEvery is how often what killed processes left in the store's spool is looked for.
const filesEvery = time.Hour

// tidyFilesUntil removes files that are not used any more, at once and then regularly,
// until ctx ends: whatever the store does, nothing waits for it.
func tidyFilesUntil(ctx context.Context, cfg Config) {
	if cfg.Archive == nil {
		return
	}
	every := housekeepingEvery * cfg.SweepInterval
	for cleaned := (time.Time{}); ctx.Err() == nil; sleep(ctx, every) {
		if err := tidyFiles(ctx, cfg, &cleaned); err != nil && ctx.Err() == nil {
			cfg.Log.Warn("tidying the archive, trying again", "error", err, "in", every.String())
		}
	}
}

func tidyFiles(ctx context.Context, cfg Config, cleaned *time.Time) error {
	if err := prune(ctx, cfg, "files", db.ReleaseFiles, cfg.Archive.Retention); err != nil {
		return err
	}
	if _, err := keep.RemoveUnused(ctx, cfg.Pool, cfg.Archive.Store); err != nil {
		return err
	}
	if time.Since(*cleaned) < filesEvery {
		return nil
	}
	*cleaned = time.Now()
	return keep.CleanUp(ctx, cfg.Archive.Store)
}
