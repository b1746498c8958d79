package batch

import (
	"sync"
	"time"
)

const (
	// batchWindow is between two batches of a Batcher, so that items gather; the
	// first after a pause is flushed at once.
	batchWindow = 20 * time.Millisecond
	// maxBatch bounds one transaction.
	maxBatch = 500
	// writers at once: one cannot use all that Postgres can do.
	writers = 2
)

// Batcher gathers what is to be written and has it written many at once. Its
// queue has no bound of its own: who adds waits until its item is written.
type Batcher[T any] struct {
	flush   func([]T)
	running sync.WaitGroup

	mu     sync.Mutex
	queue  []T
	closed bool
	wake   chan struct{}
}

// NewBatcher returns a Batcher that does not run yet; flush is called by several
// goroutines at once.
func NewBatcher[T any](flush func([]T)) *Batcher[T] {
	return &Batcher[T]{flush: flush, wake: make(chan struct{}, writers)}
}

// Add hands an item over; after Close it is flushed at once.
func (b *Batcher[T]) Add(item T) {
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

// Start begins to flush; Close ends it.
func (b *Batcher[T]) Start() {
	for range writers {
		b.running.Go(b.run)
	}
}

// Close flushes what was handed over and returns then.
func (b *Batcher[T]) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	close(b.wake)
	b.running.Wait()
}

// Closing reports whether Close was called: then nothing is worth waiting for.
func (b *Batcher[T]) Closing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *Batcher[T]) run() {
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
func (b *Batcher[T]) take() (batch []T, closed bool) {
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
