package deliver

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/worker/batch"
)

const (
	// writeTimeout bounds one transaction. It does not end with the job's context:
	// what a receiver answered is not lost by a stop.
	writeTimeout = 5 * time.Second
	// writePatience is how long a database in trouble is waited for with what a request
	// came to, before its job is given back.
	writePatience = 8 * time.Second
	writeRetry    = 250 * time.Millisecond
	// lockPatience is how long a delivery that somebody keeps locked is tried again,
	// before its job is given back.
	lockPatience = time.Minute
	// maxKept bounds what is kept of requests that the database did not take.
	maxKept = 10_000
)

// writer writes what deliveries came to, many in one transaction: attempts,
// states, the health of endpoints.
type writer struct {
	*batch.Batcher[*record]
	pool      *pgxpool.Pool
	orderWait func(time.Duration)
	recorded  func(*record)          // after commit
	disabled  func(ledger.Disabling) // after commit

	mu        sync.Mutex
	unwritten map[int64]*record // by delivery: being written, or kept
}

// record is an outcome to be written.
type record struct {
	target       db.DeliveryTarget
	outcome      db.DeliveryOutcome
	result       *webhook.Result // nil: nothing was sent
	begun, ended time.Time       // of the request
	writing      *writing        // guarded by writer.mu
}

// writing is one try to have a record written.
type writing struct {
	done chan struct{} // closed at the end
	err  error         // valid from then on
}

func newWriter(pool *pgxpool.Pool, orderWait func(time.Duration), recorded func(*record), disabled func(ledger.Disabling)) *writer {
	w := &writer{pool: pool, orderWait: orderWait, recorded: recorded, disabled: disabled, unwritten: map[int64]*record{}}
	w.Batcher = batch.NewBatcher(w.write)
	return w
}

// add hands a record over.
func (w *writer) add(r *record) *writing {
	w.mu.Lock()
	w.unwritten[r.target.ID] = r
	r.writing = &writing{done: make(chan struct{})}
	now := r.writing
	w.mu.Unlock()
	w.Add(r)
	return now
}

// again hands over what is kept of a delivery, or finds what is being written of it;
// nil: nothing is.
func (w *writer) again(delivery int64) (*record, *writing) {
	w.mu.Lock()
	r := w.unwritten[delivery]
	if r == nil {
		w.mu.Unlock()
		return nil, nil
	}
	now := r.writing
	w.mu.Unlock()
	select {
	case <-now.done:
		return r, w.add(r)
	default:
		return r, now
	}
}

// finish ends a try to have a record written. What a request came to is kept where the
// database did not take it: it must not be made again.
func (w *writer) finish(r *record, err error) {
	if err == nil {
		w.recorded(r)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil || r.result == nil || len(w.unwritten) > maxKept {
		delete(w.unwritten, r.target.ID)
	}
	r.writing.err = err
	close(r.writing.done)
}

// write writes a batch. While the database is away it tries again for a while.
// On any other trouble each record is written alone: one that cannot be written
// must not hold up the others.
func (w *writer) write(records []*record) {
	deadline := time.Now().Add(writePatience)
	err := w.writeOnce(records)
	for ; db.Transient(err) && !w.Closing() && time.Now().Before(deadline); err = w.writeOnce(records) {
		time.Sleep(writeRetry)
	}
	if err != nil && !db.Transient(err) {
		for _, r := range records {
			w.writeAlone(r)
		}
		return
	}
	for _, r := range records {
		w.finish(r, err)
	}
}

// writeAlone writes one record. One whose row somebody keeps locked goes to the
// end of the line, without holding up the others.
func (w *writer) writeAlone(r *record) {
	err := w.writeOnce([]*record{r})
	if db.RefusedValue(err) {
		r.outcome.ResponseBody, r.outcome.RemoteAddr = nil, nil // it can be missed
		err = w.writeOnce([]*record{r})
	}
	if db.RowLocked(err) && !w.Closing() && time.Since(r.ended) < lockPatience {
		time.AfterFunc(writeRetry, func() { w.Add(r) })
		return
	}
	w.finish(r, err)
}

func (w *writer) writeOnce(records []*record) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	d := ledger.Deliveries{Outcomes: make([]db.DeliveryOutcome, len(records))}
	now := time.Now()
	for i, r := range records {
		d.Outcomes[i] = r.outcome
		if r.outcome.Sent {
			d.Outcomes[i].StartedAgo, d.Outcomes[i].FinishedAgo = now.Sub(r.begun).Seconds(), now.Sub(r.ended).Seconds()
		}
	}
	d.Health, d.Disable = healthOf(records)
	disabled, err := ledger.RecordDeliveries(ledger.WithOrderWait(ctx, w.orderWait), w.pool, d)
	for _, one := range disabled {
		w.disabled(one)
	}
	return err
}

// healthOf reads the last word of each endpoint in a batch, and which of them
// said that they want no more webhooks.
func healthOf(records []*record) (health []db.EndpointHealth, leaving []ledger.Disabling) {
	last := map[int64]*record{}
	for _, r := range records {
		if r.result == nil || r.target.Endpoint == nil {
			continue
		}
		id := *r.target.Endpoint
		switch {
		case r.result.Gone():
			leaving = append(leaving, ledger.Disabling{Endpoint: id, URL: r.target.URL, Reason: "the receiver answered 410 Gone"})
		case r.result.Disable:
			leaving = append(leaving, ledger.Disabling{Endpoint: id, URL: r.target.URL, Reason: "the receiver asked for it (webhook-delivery: disable)"})
		}
		if answerOf(*r.result) != answerNeutral {
			last[id] = r
		}
	}
	for _, id := range slices.Sorted(maps.Keys(last)) {
		health = append(health, db.EndpointHealth{Endpoint: id, URL: last[id].target.URL, Error: nonEmpty(last[id].result.Reason())})
	}
	return health, leaving
}
