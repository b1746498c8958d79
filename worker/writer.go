package worker

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// batchWindow is how long results gather after a write; the first after a
	// pause is written at once.
	batchWindow = 20 * time.Millisecond
	// maxBatch bounds one transaction.
	maxBatch = 500
)

// writer writes what polls came to, many tasks in one transaction.
type writer struct {
	*Worker
	items   chan *settlement
	settled func(s *settlement, applied bool, err error) // after commit
	done    chan struct{}
}

func newWriter(w *Worker) *writer {
	return &writer{Worker: w, items: make(chan *settlement, maxBatch), done: make(chan struct{})}
}

// add hands a settlement over; it waits while the writer is far behind.
func (w *writer) add(s *settlement) { w.items <- s }

// close writes what was handed over and ends the writer.
func (w *writer) close() {
	close(w.items)
	<-w.done
}

// run writes until close.
func (w *writer) run() {
	defer close(w.done)
	var last time.Time
	for s := range w.items {
		w.flush(w.gather(s, time.Until(last.Add(batchWindow))))
		last = time.Now()
	}
}

// gather collects a batch for as long as wait; what is there already comes
// along.
func (w *writer) gather(first *settlement, wait time.Duration) []*settlement {
	batch := []*settlement{first}
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	for len(batch) < maxBatch {
		select {
		case s, ok := <-w.items:
			if !ok {
				return batch
			}
			batch = append(batch, s)
			continue
		default:
		}
		if wait <= 0 {
			return batch
		}
		select {
		case s, ok := <-w.items:
			if !ok {
				return batch
			}
			batch = append(batch, s)
		case <-timer.C:
			wait = 0
		}
	}
	return batch
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
