package feed

import (
	"context"
	"fmt"

	"github.com/klingwatch/klingwatch/db"
)

// question is what clients ask for alike: very many at once where a process begins in the
// place of another, and all its clients come back with the same cursor.
type question struct {
	after  int64
	filter string
	limit  int
}

// replay is a read that waits for its turn. All who ask for the same until it begins get
// its answer; who asks later may be owed more, and waits for the next one.
type replay struct {
	clients int           // that wait for it
	done    chan struct{} // closed when page and err are there
	page    page
	err     error
}

// page is a part of the feed that several clients may get.
type page struct {
	db.FeedPage
	frames []*Frame // of its events
}

// read reads events for clients, a few pages at once. It returns a *CursorError where some
// after the cursor are gone.
func (f *Feed) read(ctx context.Context, after int64, filter db.FeedFilter, limit int) (page, error) {
	asked := question{after, fmt.Sprintf("%#v", filter), limit}
	f.mu.Lock()
	r := f.asked[asked]
	if r == nil {
		r = &replay{done: make(chan struct{})}
		f.asked[asked] = r
		go f.replay(asked, filter, r)
	}
	r.clients++
	f.mu.Unlock()
	select {
	case <-r.done:
		return r.page, r.err
	case <-f.closing.Done():
		return page{}, ErrClosing
	case <-ctx.Done():
		return page{}, ctx.Err()
	}
}

// replay answers a question when it is its turn.
func (f *Feed) replay(asked question, filter db.FeedFilter, r *replay) {
	defer close(r.done)
	select {
	case f.reading <- struct{}{}:
		defer func() { <-f.reading }()
	case <-f.closing.Done():
	}
	f.mu.Lock()
	delete(f.asked, asked)
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(f.closing, readLimit)
	defer cancel()
	r.page.FeedPage, r.err = db.ReadFeed(ctx, f.pool, asked.after, filter, asked.limit)
	switch p := r.page; {
	case f.closing.Err() != nil:
		r.err = ErrClosing
	case r.err == nil && (p.Deleted > asked.after || p.Last < asked.after):
		r.err = &CursorError{After: asked.after, Oldest: p.Deleted, Newest: p.Last}
	}
	for _, e := range r.page.Events {
		r.page.frames = append(r.page.frames, encode(e))
	}
}
