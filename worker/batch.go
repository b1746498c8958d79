package worker

import (
	"context"
	"sync"
	"time"
)

const (
	// batchWindow is between two batches of a batcher, so that items gather; the
	// first after a pause is flushed at once.
	batchWindow = 20 * time.Millisecond
	// maxBatch bounds one transaction.
	maxBatch = 500
	// writers at once: one cannot use all that Postgres can do.
	writers = 2
	// maxLoad bounds one reading of rows.
	maxLoad = 1000
)

// batcher gathers what is to be written and has it written many at once. Its
// queue has no bound of its own: who adds waits until its item is written.
type batcher[T any] struct {
	flush   func([]T)
	running sync.WaitGroup

	mu     sync.Mutex
	queue  []T
	closed bool
	wake   chan struct{}
}

func newBatcher[T any](flush func([]T)) *batcher[T] {
	return &batcher[T]{flush: flush, wake: make(chan struct{}, writers)}
}

// add hands an item over; after close it is flushed at once.
func (b *batcher[T]) add(item T) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		b.flush([]T{item})
		return
	}
	defer b.mu.Unlock()
	b.queue = append(b.queue, item)
	select {
	case b.wake <- struct{}{}:
	default: // they are awake
	}
}

// start begins to flush; close ends it.
func (b *batcher[T]) start() {
	for range writers {
		b.running.Go(b.run)
	}
}

// close flushes what was handed over and returns then.
func (b *batcher[T]) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	close(b.wake)
	b.running.Wait()
}

// closing tells whether close was called: then nothing is worth waiting for.
func (b *batcher[T]) closing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *batcher[T]) run() {
	for {
		batch, closed := b.take()
		if len(batch) > 0 {
			begun := time.Now()
			b.flush(batch)
			if len(batch) < maxBatch && !closed { // a full batch means that more is waiting
				time.Sleep(time.Until(begun.Add(batchWindow)))
			}
			continue
		}
		if closed {
			return
		}
		<-b.wake
	}
}

// take returns the next batch, oldest first.
func (b *batcher[T]) take() (batch []T, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.queue), maxBatch)
	batch = b.queue[:n:n]
	b.queue = b.queue[n:]
	if len(b.queue) == 0 {
		b.queue = nil
	}
	return batch, b.closed
}

// loader reads rows for many jobs at once: while one query runs, the next batch
// gathers.
type loader[T any] struct {
	// read returns the rows that there are, by id.
	read func(ctx context.Context, ids []int64) (map[int64]T, error)

	mu      sync.Mutex
	running bool
	waiting []loading[T]
}

type loading[T any] struct {
	id   int64
	done chan loaded[T] // one value
}

type loaded[T any] struct {
	row   T
	found bool
	err   error
}

// load returns a row, and false when there is none.
func (l *loader[T]) load(ctx context.Context, id int64) (row T, found bool, err error) {
	done := make(chan loaded[T], 1)
	l.mu.Lock()
	l.waiting = append(l.waiting, loading[T]{id, done})
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
func (l *loader[T]) run(ctx context.Context) {
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

func (l *loader[T]) readBatch(ctx context.Context, batch []loading[T]) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	ids := make([]int64, len(batch))
	for i, want := range batch {
		ids[i] = want.id
	}
	rows, err := l.read(ctx, ids)
	for _, want := range batch {
		row, ok := rows[want.id]
		want.done <- loaded[T]{row, ok, err}
	}
}
