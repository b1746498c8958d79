package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// RecordStored notes that the file of a task is in the store. With the last file of the
// task that was waited for comes the event that tells whether all are safe; publicURL is
// where klingwatch is reached, "" where nobody said. It returns db.ErrNotFound where nobody
// waits for the file any more.
func RecordStored(ctx context.Context, pool *pgxpool.Pool, task int64, f db.StoredFile, publicURL string) error {
	return recordFile(ctx, pool, task, publicURL, func(tx pgx.Tx) error { return db.RecordStored(ctx, tx, f) })
}

// GiveFileUp notes that the file of a task is lost (db.ArchiveLost) or not kept
// (db.ArchiveSkipped), and why, with the event as RecordStored.
func GiveFileUp(ctx context.Context, pool *pgxpool.Pool, task, id int64, state, reason, publicURL string) error {
	return recordFile(ctx, pool, task, publicURL, func(tx pgx.Tx) error { return db.RecordArchiveTrouble(ctx, tx, id, state, reason) })
}

func recordFile(ctx context.Context, pool *pgxpool.Pool, task int64, publicURL string, record func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := db.LockTask(ctx, tx, task); err != nil {
			return err
		}
		if err := record(tx); err != nil {
			return err
		}
		progress, err := db.GetArchiveProgress(ctx, tx, task)
		if err != nil || progress.Pending > 0 {
			return err
		}
		eventType := webhook.TaskArchived
		if progress.Missing > 0 {
			eventType = webhook.TaskArchiveFailed
		}
		return addArchiveEvent(ctx, tx, task, eventType, publicURL)
	})
}

// addArchiveEvent writes the event that tells what became of the files of a task.
func addArchiveEvent(ctx context.Context, tx pgx.Tx, task int64, eventType, publicURL string) error {
	basis, err := db.BasisOf(ctx, tx, task, eventType)
	if err != nil || basis.Status != db.Succeeded { // it is asked again: its end will tell of new files
		return err
	}
	outputs, err := db.OutputsOfTask(ctx, tx, task)
	if err != nil {
		return err
	}
	told := make([]webhook.Output, len(outputs))
	for i, o := range outputs {
		told[i] = toldOutput(o)
		told[i].Archive = toldFile(o, publicURL)
	}
	news, err := eventOf(basis, told, nil)
	if err != nil {
		return fmt.Errorf("telling of the files of task %d: %w", task, err)
	}
	return addEvents(ctx, tx, []event{{news, basis.Changed}})
}

// toldFile is the kept file of an output, as receivers get it; nil where none was asked for.
func toldFile(o db.Output, publicURL string) *webhook.Archive {
	if o.ArchiveState == nil {
		return nil
	}
	told := &webhook.Archive{
		State: *o.ArchiveState, Bytes: o.Bytes, SHA256: o.SHA256, ContentType: o.ContentType, Width: o.Width, Height: o.Height, Error: o.ArchiveError,
	}
	if *o.ArchiveState == db.ArchiveStored {
		told.URL = new(publicURL + webhook.ContentPath(o.Task, o.Kind, o.Position))
	}
	if o.ThumbnailKey != nil {
		told.ThumbnailURL = new(publicURL + webhook.ThumbnailPath(o.Task, o.Kind, o.Position))
	}
	return told
}
