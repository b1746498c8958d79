package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

// maxLoad bounds one reading of tasks.
const maxLoad = 1000

// loader reads tasks for many jobs at once: while one query runs, the next
// batch gathers.
type loader struct {
	pool     *pgxpool.Pool
	deadline time.Duration

	mu      sync.Mutex
	running bool
	waiting []loading
}

type loading struct {
	id   int64
	done chan loaded // one value
}

type loaded struct {
	task  db.PollTarget
	found bool
	err   error
}

// load returns a task, and false when there is no such row.
func (l *loader) load(ctx context.Context, id int64) (db.PollTarget, bool, error) {
	done := make(chan loaded, 1)
	l.mu.Lock()
	l.waiting = append(l.waiting, loading{id, done})
	if !l.running {
		l.running = true
		go l.run(context.WithoutCancel(ctx))
	}
	l.mu.Unlock()
	select {
	case got := <-done:
		return got.task, got.found, got.err
	case <-ctx.Done():
		return db.PollTarget{}, false, ctx.Err()
	}
}

// run reads batches until nobody waits.
func (l *loader) run(ctx context.Context) {
	for {
		l.mu.Lock()
		batch := l.waiting[:min(len(l.waiting), maxLoad)]
		l.waiting = l.waiting[len(batch):]
		if len(batch) == 0 {
			l.running, l.waiting = false, nil
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		l.read(ctx, batch)
	}
}

func (l *loader) read(ctx context.Context, batch []loading) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	ids := make([]int64, len(batch))
	for i, want := range batch {
		ids[i] = want.id
	}
	tasks, err := db.PollTargets(ctx, l.pool, ids, l.deadline)
	if err != nil {
		err = fmt.Errorf("reading %d tasks: %w", len(ids), err)
	}
	found := make(map[int64]db.PollTarget, len(tasks))
	for _, task := range tasks {
		found[task.ID] = task
	}
	for _, want := range batch {
		task, ok := found[want.id]
		want.done <- loaded{task, ok, err}
	}
}
