// Package memory remembers for a while what takes long to find out, for all who ask.
package memory

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Memory remembers values by key. Its zero value is not ready: see New.
type Memory[T any] struct {
	fresh, stale time.Duration
	limit        time.Duration
	most         int
	log          *slog.Logger

	mu    sync.Mutex
	known map[string]*memo[T]
}

// memo is a value, or the way to it.
type memo[T any] struct {
	value   T
	at      time.Time     // when it was found out; zero: it is not yet
	reading chan struct{} // closed when it is found out anew; nil: nobody is about to
	err     error         // of the last reading
}

// New returns a memory of at most so many values. A value is told as it is while it is
// fresh; after that it is told as well, and found out anew meanwhile; once it is stale,
// whoever asks waits. Finding out takes limit at most.
func New[T any](fresh, stale, limit time.Duration, most int, log *slog.Logger) *Memory[T] {
	return &Memory[T]{fresh: fresh, stale: stale, limit: limit, most: most, log: log, known: map[string]*memo[T]{}}
}

// Get returns a value, and when it was found out by read, which several who ask at once
// share. An error of read is told, and not remembered.
func (m *Memory[T]) Get(ctx context.Context, key string, read func(context.Context) (T, error)) (value T, at time.Time, err error) {
	m.mu.Lock()
	known := m.known[key]
	if known == nil {
		m.forgetOne()
		known = &memo[T]{}
		m.known[key] = known
	}
	age := time.Since(known.at)
	if age > m.fresh && known.reading == nil {
		known.reading = make(chan struct{})
		go m.read(context.WithoutCancel(ctx), known, read)
	}
	reading, value, at := known.reading, known.value, known.at
	m.mu.Unlock()
	if age <= m.stale {
		return value, at, nil
	}
	select {
	case <-reading:
	case <-ctx.Done():
		return value, at, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return known.value, known.at, known.err
}

func (m *Memory[T]) read(ctx context.Context, known *memo[T], read func(context.Context) (T, error)) {
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	value, err := read(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if known.err = err; err == nil {
		known.value, known.at = value, time.Now()
	} else if !known.at.IsZero() {
		m.log.Warn("what was known could not be brought up to date", "error", err)
	}
	close(known.reading)
	known.reading = nil
}

// forgetOne makes room for another value. The mutex is held.
func (m *Memory[T]) forgetOne() {
	if len(m.known) < m.most {
		return
	}
	oldest := ""
	for key, known := range m.known {
		if oldest == "" || known.at.Before(m.known[oldest].at) {
			oldest = key
		}
	}
	delete(m.known, oldest)
}
