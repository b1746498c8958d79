package keep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/semaphore"

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
	// maxUnmeasured bounds the spool files that wait for ffmpeg, in bytes.
	maxUnmeasured = 4 << 30
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
	turns      *fetch.Turns
	unmeasured *semaphore.Weighted // bytes in the spool of files that are stored, and wait to be measured
}

// New returns a Keeper.
func New(cfg Config) *Keeper {
	if cfg.Counted == nil {
		cfg.Counted = func(string, int64, time.Duration) {}
	}
	return &Keeper{Config: cfg, turns: fetch.NewTurns(inAll, perHost), unmeasured: semaphore.NewWeighted(maxUnmeasured)}
}

// Keep tries to have a file kept. It returns whether, and after which wait, to try again;
// an error is one of the database, or ctx's.
func (k *Keeper) Keep(ctx context.Context, relay Relay, id int64) (wait time.Duration, again bool, err error) {
	t, err := k.target(ctx, id)
	switch {
	case err != nil:
		return 0, false, err
	case t.State == db.ArchiveStored && !t.Measured:
		return 0, false, k.measureStored(ctx, t)
	case t.State != db.ArchivePending:
		return 0, false, nil
	}
	host, _ := outbound.Origin(t.URL) // what names no host waits with its like, and fails
	done, err := k.turns.Wait(ctx, host, expiryOf(t, time.Now()))
	if err != nil {
		return 0, false, err
	}
	defer done()
	if t, err = k.target(ctx, id); err != nil || t.State != db.ArchivePending { // it may have a new URL, or be gone
		return 0, false, err
	}
	p := parcel{target: t}
	defer p.discard()
	if err := k.store(ctx, relay, &p); err != nil {
		if ctx.Err() != nil {
			return 0, false, ctx.Err()
		}
		return k.failed(ctx, relay, t, err)
	}
	if kept, err := k.recordStored(ctx, p); err != nil || !kept || p.measured {
		return 0, false, err
	}
	// It is safe; that others become safe is more urgent than its picture.
	if k.unmeasured.TryAcquire(p.stored.Bytes) {
		defer k.unmeasured.Release(p.stored.Bytes)
		done()
	}
	return 0, false, k.measureLate(ctx, &p)
}

// target reads a file; the zero target is one that is gone.
func (k *Keeper) target(ctx context.Context, id int64) (db.ArchiveTarget, error) {
	t, err := db.GetArchiveTarget(ctx, k.Pool, id)
	if errors.Is(err, db.ErrNotFound) {
		return db.ArchiveTarget{}, nil
	}
	if err != nil {
		return t, fmt.Errorf("reading the file %d: %w", id, err)
	}
	return t, nil
}

// parcel is a file on its way.
type parcel struct {
	target   db.ArchiveTarget
	local    *os.File // in the spool
	small    *os.File // its thumbnail, in the spool
	fetched  fetch.File
	stored   db.StoredFile
	measured bool // stored has all that can be known
}

// discard ends the spool files.
func (p *parcel) discard() {
	for _, f := range []*os.File{p.local, p.small} {
		if f != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}
}

// store fetches a file and stores it; a picture is measured on the way, which is quick.
func (k *Keeper) store(ctx context.Context, relay Relay, p *parcel) (err error) {
	if p.local, err = k.spool(); err != nil {
		return err
	}
	source := fetch.Source{URL: p.target.URL, Kind: p.target.Kind}
	if p.target.NeedsKey {
		source.Header = relay.KeyFor(p.target.Relay, p.target.URL)
	}
	if p.fetched, err = k.Client.Fetch(ctx, source, p.local, nil); err != nil {
		return err
	}
	p.stored = storedFile(p.target, p.fetched)
	if err := db.ClaimFile(ctx, k.Pool, p.stored.Key, unused); err != nil {
		return fmt.Errorf("claiming a key in the store: %w", err)
	}
	if err := k.Store.Put(ctx, p.stored.Key, p.local, archive.Info{Size: p.stored.Bytes, SHA256: p.stored.SHA256, ContentType: p.stored.ContentType}); err != nil {
		return err
	}
	if !strings.HasPrefix(p.fetched.ContentType, "image/") && k.Tools.Installed() {
		return nil
	}
	return k.measure(ctx, p)
}

func (k *Keeper) spool() (*os.File, error) { return os.CreateTemp(k.Store.Spool(), "file-*") }

// recordStored writes down that a file is in the store, unless nobody waits for it any more.
// A stop does not cut that off.
func (k *Keeper) recordStored(ctx context.Context, p parcel) (kept bool, err error) {
	t, f := p.target, p.stored
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	err = ledger.RecordStored(ledger.WithOrderWait(ctx, k.OrderWait), k.Pool, t.Task, f, k.PublicURL)
	if errors.Is(err, db.ErrNotFound) {
		return false, nil // the task is gone, or was asked again; the claim has the file removed
	}
	if err != nil {
		return false, fmt.Errorf("recording the file %d: %w", t.ID, err)
	}
	k.Counted(db.ArchiveStored, f.Bytes, time.Duration(t.EndedAgo*float64(time.Second)))
	return true, nil
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
	outcome := next.state
	switch next.state {
	case db.ArchivePending:
		outcome = "failed"
		k.Log.Info("a file could not be kept, trying again", append(about, "in", next.wait.Round(time.Second).String())...)
	case db.ArchiveLost:
		k.Log.Error("a file is lost: it could not be had before the provider deleted it", about...)
	default:
		k.Log.Warn("a file is not kept", about...)
	}
	k.Counted(outcome, 0, 0)
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
