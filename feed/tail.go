package feed

import (
	"context"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
)

const (
	// gather is the least time between two reads: anybody can send notes, as many as
	// they like.
	gather = 20 * time.Millisecond
	// lookAgain is after how long without a note the tail reads all the same: notes may
	// be lost with a connection, and a connection without saying so.
	lookAgain = 5 * time.Second
	// readLimit bounds one question.
	readLimit = 5 * time.Second
	// pageSize is how many events are read at once.
	pageSize = 1000
	// linger is how long the tail follows after the last one left, who may come back.
	linger = 30 * time.Second
	// reconnect is the pause before a lost database is tried again.
	reconnect = 250 * time.Millisecond
)

// Run tells events until ctx ends, wherever the database goes meanwhile, and ends all
// streams then.
func (f *Feed) Run(ctx context.Context) {
	defer f.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.closing, cancel)()
	lost := false
	for f.await(ctx) {
		err := f.follow(ctx, func() {
			if lost {
				f.log.Info("the feed follows the database again")
			}
			lost = false
		})
		if err == nil || ctx.Err() != nil {
			continue
		}
		if !lost {
			f.log.Warn("the feed has lost the database; it goes on where it was when that is back", "error", err)
		}
		lost = true
		pause(ctx, reconnect)
	}
}

// await returns true once somebody listens, and false when ctx ends.
func (f *Feed) await(ctx context.Context) bool {
	for {
		f.mu.Lock()
		empty := f.empty()
		f.mu.Unlock()
		if !empty && ctx.Err() == nil {
			return true
		}
		select {
		case <-f.wanted:
		case <-ctx.Done():
			return false
		}
	}
}

// follow tells what comes, over a connection of its own: a pool would lend it to others.
// It returns nil when nobody has listened for a while.
func (f *Feed) follow(ctx context.Context, following func()) error {
	conn, err := pgx.ConnectConfig(ctx, f.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if err := f.begin(ctx, conn); err != nil {
		return err
	}
	for first := true; ; first = false {
		began := time.Now()
		if err := f.readAll(ctx, conn); err != nil {
			return err
		}
		if first {
			following()
		}
		if f.rest() {
			return nil
		}
		if err := listen(ctx, conn, began); err != nil {
			return err
		}
	}
}

// begin subscribes to notes, and finds the position where the tail has none.
func (f *Feed) begin(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	if err := db.ListenForEvents(ctx, conn); err != nil {
		return err
	}
	if f.isLive() {
		return nil
	}
	end, err := db.FeedEnd(ctx, conn)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.position = end
	for s := range f.streams {
		s.from = end
	}
	close(f.live)
	return nil
}

func (f *Feed) isLive() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.live:
		return true
	default:
		return false
	}
}

// rest ends the following where nobody has listened for a while: the next one finds a new
// position.
func (f *Feed) rest() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.empty() || time.Since(f.deserted) < linger {
		return false
	}
	f.live = make(chan struct{})
	return true
}

// readAll reads what is new and tells it.
func (f *Feed) readAll(ctx context.Context, conn *pgx.Conn) error {
	for more := true; more; {
		f.mu.Lock()
		position := f.position
		f.mu.Unlock()
		page, err := f.readNew(ctx, conn, position)
		if err != nil {
			return err
		}
		if page.Last < position || page.Deleted > position {
			if err := f.startOver(ctx, conn); err != nil {
				return err
			}
			continue
		}
		for _, e := range page.Events {
			f.metrics.FeedLag.Observe(e.Age)
		}
		f.metrics.FeedEvents.Add(float64(len(page.Events)))
		f.tell(page.Events, page.Read)
		more = page.More
	}
	return nil
}

func (f *Feed) readNew(ctx context.Context, conn *pgx.Conn, position int64) (db.FeedPage, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	f.metrics.FeedReads.Inc()
	page, err := db.ReadFeed(ctx, conn, position, db.FeedFilter{}, pageSize)
	if err == nil && page.ReadOnly { // the events come to another server by now
		err = db.ErrReadOnly
	}
	return page, err
}

// startOver follows from the end: the events that the tail stood at are gone.
func (f *Feed) startOver(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	end, err := db.FeedEnd(ctx, conn)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log.Warn("the feed starts over: the database has lost events", "position", f.position, "end", end)
	f.position = end
	f.endStreams(ErrLostEvents)
	for _, waits := range f.waits {
		f.wake(waits)
	}
	return nil
}

// listen returns when a note has come, or none for a while, and not before the next read
// is allowed. It takes all notes that come until then.
func listen(ctx context.Context, conn *pgx.Conn, lastRead time.Time) error {
	if err := hear(ctx, conn, time.Now().Add(lookAgain)); err != nil {
		return err
	}
	for next := lastRead.Add(gather); time.Now().Before(next); {
		if err := hear(ctx, conn, next); err != nil {
			return err
		}
	}
	return nil
}

// hear returns when a note comes, or at a time.
func hear(ctx context.Context, conn *pgx.Conn, until time.Time) error {
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	_, err := conn.WaitForNotification(limited)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case conn.IsClosed():
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// closeConn does not wait for a server that is gone.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
