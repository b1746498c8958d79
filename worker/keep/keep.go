package keep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/worker/fetch"
)

const (
	// Downloads at once, in all and from one host.
	inAll   = 8
	perHost = 4
	// unused is how long a file that no row tells of stays in the store: longer than any
	// attempt takes from its claim to its row.
	unused = 24 * time.Hour
	// recordTimeout bounds the wait for the database once a file is stored; it does not end
	// with a stop, which would have the file fetched again.
	recordTimeout = 10 * time.Second
)

// Relay is where tasks are asked about.
type Relay interface {
	// Renew asks a relay where the files of a task are now.
	Renew(ctx context.Context, task db.PollTarget) ([]db.Output, error)
	// KeyFor is the header that a relay's own links want; nil for a URL elsewhere.
	KeyFor(relay, url string) http.Header
}

// Config sets up a Keeper. Pool, Store, Client, Tools and Log are required.
type Config struct {
	Pool      *pgxpool.Pool
	Store     archive.Store
	Client    *fetch.Client
	Tools     *fetch.Tools
	Log       *slog.Logger
	PublicURL string              // where klingwatch is reached; "": nobody said
	Deadline  time.Duration       // of tasks that have none
	OrderWait func(time.Duration) // told how long a write waited for its turn to write events; nil: nobody is
	Counted   func(outcome string, bytes int64, sinceEnd time.Duration)
}

// Keeper keeps files. It is safe for concurrent use.
type Keeper struct {
	Config
	turns *fetch.Turns
}

// New returns a Keeper.
func New(cfg Config) *Keeper {
	if cfg.Counted == nil {
		cfg.Counted = func(string, int64, time.Duration) {}
	}
	return &Keeper{Config: cfg, turns: fetch.NewTurns(inAll, perHost)}
}

// Keep tries to have a file kept. It returns whether, and after which wait, to try again;
// an error is one of the database, or ctx's.
func (k *Keeper) Keep(ctx context.Context, relay Relay, id int64) (wait time.Duration, again bool, err error) {
	t, err := db.GetArchiveTarget(ctx, k.Pool, id)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("reading the file %d: %w", id, err)
	case t.State != db.ArchivePending:
		return 0, false, nil
	}
	host, _ := outbound.Origin(t.URL) // what names no host waits with its like, and fails
	done, err := k.turns.Wait(ctx, host, expiryOf(t, time.Now()))
	if err != nil {
		return 0, false, err
	}
	defer done()
	stored, err := k.store(ctx, relay, t)
	if err == nil {
		return 0, false, k.recordStored(ctx, t, stored)
	}
	if ctx.Err() != nil {
		return 0, false, ctx.Err()
	}
	return k.failed(ctx, relay, t, err)
}

// store fetches a file and stores it with its thumbnail.
func (k *Keeper) store(ctx context.Context, relay Relay, t db.ArchiveTarget) (f db.StoredFile, err error) {
	local, err := k.spool()
	if err != nil {
		return f, err
	}
	defer discard(local)
	source := fetch.Source{URL: t.URL, Kind: t.Kind}
	if t.NeedsKey {
		source.Header = relay.KeyFor(t.Relay, t.URL)
	}
	fetched, err := k.Client.Fetch(ctx, source, local, nil)
	if err != nil {
		return f, err
	}
	small, err := k.spool()
	if err != nil {
		return f, err
	}
	defer discard(small)
	measured, thumbnail, err := k.Tools.Measure(ctx, fetched, local, small)
	if err != nil {
		if ctx.Err() != nil {
			return f, ctx.Err()
		}
		k.Log.Debug("a file is kept without all that could be known of it", "task", t.Task, "kind", t.Kind, "position", t.Position, "reason", outbound.LogLine(err.Error()))
	}
	f = fileOf(t, measured)
	if err := db.ClaimFile(ctx, k.Pool, f.Key, unused); err != nil {
		return f, fmt.Errorf("claiming a key in the store: %w", err)
	}
	if err := k.Store.Put(ctx, f.Key, local, archive.Info{Size: f.Bytes, SHA256: f.SHA256, ContentType: f.ContentType}); err != nil {
		return f, err
	}
	if thumbnail.Bytes > 0 {
		key := ThumbnailKey(f.Key)
		err := k.Store.Put(ctx, key, small, archive.Info{Size: thumbnail.Bytes, SHA256: thumbnail.SHA256, ContentType: thumbnail.ContentType})
		if err != nil && !errors.Is(err, archive.ErrTaken) { // another version of ffmpeg may have made the one that is there
			return f, err
		}
		f.ThumbnailKey = &key
	}
	return f, nil
}

func (k *Keeper) spool() (*os.File, error) { return os.CreateTemp(k.Store.Spool(), "file-*") }

// discard ends a spool file.
func discard(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// recordStored writes down that a file is in the store. A stop does not cut that off.
func (k *Keeper) recordStored(ctx context.Context, t db.ArchiveTarget, f db.StoredFile) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	err := ledger.RecordStored(ledger.WithOrderWait(ctx, k.OrderWait), k.Pool, t.Task, f, k.PublicURL)
	if errors.Is(err, db.ErrNotFound) {
		return nil // the task is gone, or was asked again; the claim has the file removed
	}
	if err != nil {
		return fmt.Errorf("recording the file %d: %w", t.ID, err)
	}
	k.Counted(db.ArchiveStored, f.Bytes, time.Duration(t.EndedAgo*float64(time.Second)))
	return nil
}

// failed decides what comes after a failure, and writes it down.
func (k *Keeper) failed(ctx context.Context, relay Relay, t db.ArchiveTarget, failure error) (time.Duration, bool, error) {
	reason := outbound.LogLine(failure.Error())
	next := after(t, failure)
	if next.renew {
		err := k.renew(ctx, relay, t)
		switch {
		case err == nil:
			return 0, true, nil
		case ctx.Err() != nil:
			return 0, false, ctx.Err()
		}
		reason += "; asking the relay for a new URL: " + outbound.LogLine(err.Error())
	}
	var err error
	if next.state == db.ArchivePending {
		err = db.RecordArchiveTrouble(ctx, k.Pool, t.ID, next.state, outbound.Truncate(reason, maxReason))
	} else {
		err = ledger.GiveFileUp(ledger.WithOrderWait(ctx, k.OrderWait), k.Pool, t.Task, t.ID, next.state, outbound.Truncate(next.why+reason, maxReason), k.PublicURL)
	}
	if errors.Is(err, db.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("recording what became of the file %d: %w", t.ID, err)
	}
	k.tell(t, next, reason)
	return next.wait, next.state == db.ArchivePending, nil
}

// maxReason is the longest archive_error, in characters.
const maxReason = 500

// tell counts and logs a failure.
func (k *Keeper) tell(t db.ArchiveTarget, next step, reason string) {
	about := []any{"task", t.Task, "kind", t.Kind, "position", t.Position, "attempts", t.Attempts + 1, "reason", reason}
	switch next.state {
	case db.ArchivePending:
		k.Counted("failed", 0, 0)
		k.Log.Info("a file could not be kept, trying again", append(about, "in", next.wait.Round(time.Second).String())...)
	case db.ArchiveLost:
		k.Counted(next.state, 0, 0)
		k.Log.Error("a file is lost: it could not be had before the provider deleted it", about...)
	default:
		k.Counted(next.state, 0, 0)
		k.Log.Warn("a file is not kept", about...)
	}
}

// renew asks the relay where the files of a task are now.
func (k *Keeper) renew(ctx context.Context, relay Relay, t db.ArchiveTarget) error {
	task, err := db.GetPollTarget(ctx, k.Pool, t.Task, k.Deadline)
	if err != nil {
		return err
	}
	outputs, err := relay.Renew(ctx, task)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, k.Pool, func(tx pgx.Tx) error {
		if err := db.LockTask(ctx, tx, t.Task); err != nil {
			return err
		}
		if err := db.RenewURLs(ctx, tx, outputs); err != nil {
			return err
		}
		return db.NoteRefreshed(ctx, tx, t.ID)
	})
}
