package batch

import (
	"context"
	"sync"
	"time"
)

const (
	// maxLoad bounds one reading of rows.
	maxLoad = 1000
	// loadTimeout bounds it in time. It does not end with the context of the first
	// who asked: others wait for the same rows.
	loadTimeout = 5 * time.Second
)

// Loader reads rows for many jobs at once: while one query runs, the next batch
// gathers.
type Loader[K comparable, T any] struct {
	read func(ctx context.Context, keys []K) (map[K]T, error)

	mu      sync.Mutex
	running bool
	waiting []loading[K, T]
}

// NewLoader returns a Loader; read returns the rows that there are, by key.
func NewLoader[K comparable, T any](read func(ctx context.Context, keys []K) (map[K]T, error)) *Loader[K, T] {
	return &Loader[K, T]{read: read}
}

type loading[K comparable, T any] struct {
	key  K
	done chan loaded[T] // one value
}

type loaded[T any] struct {
	row   T
	found bool
	err   error
}

// Load returns a row, and false when there is none.
func (l *Loader[K, T]) Load(ctx context.Context, key K) (row T, found bool, err error) {
	done := make(chan loaded[T], 1)
	l.mu.Lock()
	l.waiting = append(l.waiting, loading[K, T]{key, done})
	if !l.running {
		l.running = true
		go l.run(context.WithoutCancel(ctx))
	}
	l.mu.Unlock()
	select {
	case got := <-done:
		return got.row, got.found, got.err
	case <-ctx.Done():
		return row, false, ctx.Err()
	}
}

// run reads batches until nobody waits.
func (l *Loader[K, T]) run(ctx context.Context) {
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
		l.readBatch(ctx, batch)
	}
}

func (l *Loader[K, T]) readBatch(ctx context.Context, batch []loading[K, T]) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	keys := make([]K, len(batch))
	for i, want := range batch {
		keys[i] = want.key
	}
	rows, err := l.read(ctx, keys)
	for _, want := range batch {
		row, ok := rows[want.key]
		want.done <- loaded[T]{row, ok, err}
	}
}
