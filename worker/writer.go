package worker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// batchWindow is between two transactions, so that results gather; the first
	// after a pause is written at once.
	batchWindow = 20 * time.Millisecond
	// maxBatch bounds one transaction.
	maxBatch = 500
	// writers at once: one cannot use all that Postgres can do.
	writers = 2
)

// writer writes what polls came to, many tasks in one transaction. Its queue has
// no bound of its own: each resident task is in it at most once.
type writer struct {
	*Worker
	settled func(s *settlement, applied bool, err error) // after commit
	running sync.WaitGroup

	mu     sync.Mutex
	queue  []*settlement
	closed bool
	wake   chan struct{}
}

func newWriter(w *Worker) *writer {
	return &writer{Worker: w, wake: make(chan struct{}, writers)}
}

// add hands a settlement over.
func (w *writer) add(s *settlement) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, s)
	select {
	case w.wake <- struct{}{}:
	default: // they are awake
	}
}

// close writes what was handed over and ends the writer.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	close(w.wake)
	w.running.Wait()
}

// start begins to write; close ends it.
func (w *writer) start() {
	for range writers {
		w.running.Go(w.run)
	}
}

// run writes until close.
func (w *writer) run() {
	for {
		batch, closed := w.take()
		if len(batch) > 0 {
			begun := time.Now()
			w.flush(batch)
			if len(batch) < maxBatch && !closed { // a full batch means that more is waiting
				time.Sleep(time.Until(begun.Add(batchWindow)))
			}
			continue
		}
		if closed {
			return
		}
		<-w.wake
	}
}

// take returns the next batch, oldest first.
func (w *writer) take() (batch []*settlement, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.queue), maxBatch)
	batch = w.queue[:n:n]
	w.queue = w.queue[n:]
	if len(w.queue) == 0 {
		w.queue = nil
	}
	return batch, w.closed
}

// flush writes a batch. Where Postgres refuses a value, each task is written
// alone, so that one cannot hold up the others, and without what can be missed,
// so that its verdict is not lost.
func (w *writer) flush(batch []*settlement) {
	applied, err := write(context.Background(), w.Pool, batch)
	if err != nil && refusedValue(err) {
		if len(batch) > 1 {
			for _, s := range batch {
				w.flush([]*settlement{s})
			}
			return
		}
		if batch[0].change != nil {
			batch[0].reduce(err)
			applied, err = write(context.Background(), w.Pool, batch)
		}
	}
	for _, s := range batch {
		ok := err == nil && (s.change == nil || applied[s.task.ID])
		if ok {
			w.tell(s)
		}
		w.settled(s, ok, err)
	}
}

// reduce leaves the verdict, its reason and the URLs, and says why.
func (s *settlement) reduce(why error) {
	note := "a part of the reply could not be stored: " + why.Error()
	s.change.LastError = &note
	s.change.Result, s.change.RequestID, s.change.UnitDeduction = nil, nil, nil
	s.change.UpstreamCreatedAt, s.change.UpstreamUpdatedAt = nil, nil
	for i := range s.outputs {
		s.outputs[i].UpstreamID, s.outputs[i].DurationSeconds, s.outputs[i].ExpiresAt = nil, nil, nil
	}
}

// refusedValue tells whether an error is about the data (SQLSTATE classes 21 to
// 23 and 54) and not about the connection or the server.
func refusedValue(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	for _, class := range []string{"21", "22", "23", "54"} {
		if strings.HasPrefix(pgErr.Code, class) {
			return true
		}
	}
	return false
}
