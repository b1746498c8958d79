package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/metrics"
)

const (
	// ahead is how many frames may wait for a client; each is shared by all.
	ahead = 256
	// tooSlow is for how long a client may take nothing, when more comes than is held for it.
	tooSlow = 10 * time.Second
	// replays at once read from the pool, which others need as well.
	replays = 4
)

var (
	// ErrSlow ends a stream whose client takes nothing.
	ErrSlow = errors.New("the client has taken nothing for long, and more has come than is held for it: go on from the last id")
	// ErrClosing ends everything when this process stops.
	ErrClosing = errors.New("this process stops: go on from the last id at another")
	// ErrLostEvents ends all streams when the database has lost events, such as by a
	// failover to a standby that lagged behind: their ids are given again.
	ErrLostEvents = errors.New("the database has lost its last events: go on from the last id")

	// errBehind says that more has come at once than is held: the stream replays again.
	errBehind = errors.New("more has come than is held")
	errLeft   = errors.New("the client has left")
)

// CursorError says that nothing can be told from a cursor on without a gap.
type CursorError struct {
	After  int64 // the cursor
	Oldest int64 // from this cursor on nothing is missing
	Newest int64 // no event has a higher id
}

// Error says which cursor is right.
func (e *CursorError) Error() string {
	if e.After > e.Newest {
		return fmt.Sprintf("no event has the id %d yet, the newest is %d: the cursor is from another database, or this one has lost events", e.After, e.Newest)
	}
	return fmt.Sprintf("events after %d were deleted because they were old: go on after %d", e.After, e.Oldest)
}

// Feed tells the events of a database. It is safe for concurrent use.
type Feed struct {
	pool    *pgxpool.Pool
	metrics *metrics.Feed
	log     *slog.Logger
	reading chan struct{} // holds one for each replay that reads
	wanted  chan struct{} // somebody listens
	tooSlow time.Duration
	closing context.Context
	stop    context.CancelFunc

	mu       sync.Mutex
	live     chan struct{} // closed while the tail follows
	position int64         // of the tail while live: all up to it were told
	streams  map[*subscriber]struct{}
	waits    map[int64][]chan struct{} // by task
	asked    map[question]*replay      // those that have not begun
	waiting  int
	deserted time.Time // when the last one left
}

// subscriber is a stream that listens.
type subscriber struct {
	filter db.FeedFilter
	frames chan *Frame
	from   int64 // what comes after it is told
	err    error // why frames is closed; written before

	busy atomic.Int64 // since when its client takes nothing, in Unix nanoseconds; 0: it waits for frames
}

// New returns a feed that tells nothing until Run.
func New(pool *pgxpool.Pool, m *metrics.Feed, log *slog.Logger) *Feed {
	closing, stop := context.WithCancel(context.Background())
	return &Feed{
		pool: pool, metrics: m, log: log, reading: make(chan struct{}, replays), wanted: make(chan struct{}, 1), tooSlow: tooSlow,
		closing: closing, stop: stop,
		live: make(chan struct{}), streams: map[*subscriber]struct{}{}, waits: map[int64][]chan struct{}{}, asked: map[question]*replay{},
	}
}

// Close ends all streams and waits, now and later.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop()
	f.endStreams(ErrClosing)
}

// endStreams needs mu.
func (f *Feed) endStreams(why error) {
	for s := range f.streams {
		f.end(s, why)
	}
}

// end needs mu.
func (f *Feed) end(s *subscriber, why error) {
	if _, listens := f.streams[s]; !listens {
		return
	}
	s.err = why
	close(s.frames)
	delete(f.streams, s)
	f.left(metrics.ListenerStream)
}

// came and left need mu.
func (f *Feed) came(kind string) {
	f.metrics.FeedListeners.WithLabelValues(kind).Inc()
	select {
	case f.wanted <- struct{}{}:
	default:
	}
}

func (f *Feed) left(kind string) {
	f.metrics.FeedListeners.WithLabelValues(kind).Dec()
	f.deserted = time.Now()
}

// empty needs mu.
func (f *Feed) empty() bool { return len(f.streams) == 0 && f.waiting == 0 }

// subscribe returns a subscriber that is told all events from now on, once the tail
// follows.
func (f *Feed) subscribe(ctx context.Context, filter db.FeedFilter) (*subscriber, error) {
	f.mu.Lock()
	if f.closing.Err() != nil {
		f.mu.Unlock()
		return nil, ErrClosing
	}
	s := &subscriber{filter: filter, frames: make(chan *Frame, ahead), from: f.position}
	f.streams[s] = struct{}{}
	f.came(metrics.ListenerStream)
	f.mu.Unlock()
	if err := f.followed(ctx); err != nil {
		f.unsubscribe(s)
		return nil, err
	}
	return s, nil
}

func (f *Feed) unsubscribe(s *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end(s, errLeft)
}

// followed waits until the tail follows, so that what comes from now on will be told.
func (f *Feed) followed(ctx context.Context) error {
	f.mu.Lock()
	live := f.live
	f.mu.Unlock()
	select {
	case <-live:
		return nil
	case <-f.closing.Done():
		return ErrClosing
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Await calls reached now, and again whenever an event of a task has come, until it
// returns true or an error, or ctx ends.
func (f *Feed) Await(ctx context.Context, task int64, reached func(context.Context) (bool, error)) error {
	told, err := f.watch(task)
	if err != nil {
		return err
	}
	defer f.unwatch(task, told)
	if err := f.followed(ctx); err != nil {
		return err
	}
	for {
		if ok, err := reached(ctx); ok || err != nil {
			return err
		}
		select {
		case <-told:
		case <-f.closing.Done():
			return ErrClosing
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *Feed) watch(task int64) (told chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing.Err() != nil {
		return nil, ErrClosing
	}
	told = make(chan struct{}, 1)
	f.waits[task] = append(f.waits[task], told)
	f.waiting++
	f.came(metrics.ListenerWait)
	return told, nil
}

func (f *Feed) unwatch(task int64, told chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rest := f.waits[task][:0]
	for _, other := range f.waits[task] {
		if other != told {
			rest = append(rest, other)
		}
	}
	if f.waits[task] = rest; len(rest) == 0 {
		delete(f.waits, task)
	}
	f.waiting--
	f.left(metrics.ListenerWait)
}

// tell hands events to all who listen for them.
func (f *Feed) tell(events []db.FeedEvent, position int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		var frame *Frame
		for s := range f.streams {
			if !s.filter.Chooses(e) {
				continue
			}
			if frame == nil {
				frame = encode(e)
			}
			f.send(s, frame)
		}
		f.wake(f.waits[e.Task])
	}
	f.position = position
}

// send needs mu.
func (f *Feed) send(s *subscriber, frame *Frame) {
	select {
	case s.frames <- frame:
		return
	default:
	}
	if busy := s.busy.Load(); busy != 0 && time.Since(time.Unix(0, busy)) > f.tooSlow {
		f.metrics.FeedSlow.Inc()
		f.end(s, ErrSlow)
		return
	}
	f.end(s, errBehind)
}

// wake needs mu.
func (f *Feed) wake(waits []chan struct{}) {
	for _, told := range waits {
		select {
		case told <- struct{}{}:
		default: // it has been told and has not looked yet
		}
	}
}
