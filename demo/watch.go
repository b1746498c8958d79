package demo

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

const (
	// watchEvery is how often Watch looks.
	watchEvery = 300 * time.Millisecond
	// commitsWithin is how long after its time an event may become visible: it has the
	// time at which its transaction began.
	commitsWithin = 10 * time.Second
)

// Watch reports what happens to any task, and each webhook request, once, from now until
// ctx ends. It waits for a database that is away.
func Watch(ctx context.Context, pool *pgxpool.Pool, report func(db.Happening)) {
	w := watch{after: time.Now().Add(-commitsWithin), seen: map[string]time.Time{}}
	_ = w.look(ctx, pool, func(db.Happening) {}) // what has happened before
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(watchEvery):
			_ = w.look(ctx, pool, report)
		}
	}
}

// watch knows what was reported.
type watch struct {
	after time.Time            // nothing before is looked at
	seen  map[string]time.Time // what was reported since, by Happening.Key
}

// look reports what is new.
func (w *watch) look(ctx context.Context, pool *pgxpool.Pool, report func(db.Happening)) error {
	happened, err := db.Happenings(ctx, pool, w.after)
	for _, h := range happened {
		if _, told := w.seen[h.Key]; !told {
			w.seen[h.Key] = h.At
			report(h)
		}
		if from := h.At.Add(-commitsWithin); from.After(w.after) {
			w.after = from
		}
	}
	for key, at := range w.seen {
		if at.Before(w.after) {
			delete(w.seen, key)
		}
	}
	return err
}
