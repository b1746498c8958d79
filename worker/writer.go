package worker

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// writer writes what polls came to, many tasks in one transaction.
type writer struct {
	*Worker
	*batcher[*settlement]
	settled func(s *settlement, applied bool, err error) // after commit
}

func newWriter(w *Worker) *writer {
	wr := &writer{Worker: w}
	wr.batcher = newBatcher(wr.write)
	return wr
}

// write writes a batch. Where Postgres refuses a value, each task is written
// alone, so that one cannot hold up the others, and without what can be missed,
// so that its verdict is not lost.
func (w *writer) write(batch []*settlement) {
	traced := w.traceWrites(batch)
	applied, err := write(context.Background(), w.Pool, batch)
	if err != nil && refusedValue(err) {
		if len(batch) > 1 {
			traced(nil, err)
			for _, s := range batch {
				w.write([]*settlement{s})
			}
			return
		}
		if batch[0].change != nil {
			batch[0].reduce(err)
			applied, err = write(context.Background(), w.Pool, batch)
		}
	}
	traced(applied, err)
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
