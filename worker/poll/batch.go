package poll

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

const (
	// shortFor is how long a relay is asked for fewer tasks at once after it refused
	// more of them, of which it refused none alone.
	shortFor = 10 * time.Minute
	// takenLately is how long an answer about several tasks shows that the relay takes
	// as many.
	takenLately = time.Minute
	// maxPassedOver bounds how many tasks of other places are looked at for one request.
	maxPassedOver = 200
)

// batchLimit is how many tasks a relay takes in one request at present.
type batchLimit struct {
	mu       sync.Mutex
	limit    int // 0: as many as its row says
	until    time.Time
	answered int // the most tasks that it answered about at once, lately
	at       time.Time
}

// now is the most tasks to ask about; usual is what the row of the relay says.
func (b *batchLimit) now(usual int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit == 0 || time.Now().After(b.until) {
		return usual
	}
	return min(b.limit, usual)
}

func (b *batchLimit) set(limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit, b.until = limit, time.Now().Add(shortFor)
}

// noteAnswer takes in that the relay answered about so many tasks at once.
func (b *batchLimit) noteAnswer(tasks int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); tasks >= b.answered || now.Sub(b.at) > takenLately {
		b.answered, b.at = tasks, now
	}
}

// takes reports whether the relay has lately answered about so many at once.
func (b *batchLimit) takes(tasks int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answered >= tasks && time.Since(b.at) <= takenLately
}

// trial is a request for several tasks that the relay refused as a whole. Its tasks are
// asked about again by halves, and among themselves; a half that is refused is a trial
// of its own.
type trial struct {
	tasks []*Watched
	open  int // those without an answer
}

// gather adds to a request other tasks that are due at its place. Asking about one more
// costs nothing, so those join that would be due within half an interval.
func (p *Poller) gather(q *request) {
	first := q.tasks[0]
	most := q.relay.batch.now(q.relay.BatchSize)
	if first.most > 0 {
		most = min(most, first.most)
	}
	latest := time.Now().Add(p.Interval / 2)
	p.mu.Lock()
	defer p.mu.Unlock()
	var passed []*Watched
	for len(q.tasks) < most && len(passed) < maxPassedOver {
		w := p.waiting.first()
		if w == nil || w.due.After(latest) {
			break
		}
		p.waiting.remove(w)
		if w.relay != q.relay || w.trial != first.trial || w.most > 0 && w.most <= len(q.tasks) || q.relay.place(w.task) != q.place {
			passed = append(passed, w)
			continue
		}
		if w.most > 0 {
			most = min(most, w.most)
		}
		q.tasks = append(q.tasks, w)
	}
	for _, w := range passed {
		p.waiting.add(w)
	}
}

// refusesAll reports whether an error may be the fault of one of several tasks: the
// others are asked about without it.
func refusesAll(err error) bool {
	apiErr, ok := errors.AsType[*klingapi.Error](err)
	if !ok {
		return false
	}
	switch apiErr.Kind {
	case klingapi.Rejected, klingapi.NotFound, klingapi.Unreadable:
		return true
	case klingapi.Refused:
		return apiErr.HTTPStatus == http.StatusForbidden || apiErr.Code == "1103"
	}
	return false
}

// split asks about the tasks of a request that was refused as a whole again at once, by
// halves.
func (p *Poller) split(q *request) {
	t, now := &trial{tasks: q.tasks, open: len(q.tasks)}, time.Now()
	p.mu.Lock()
	for _, w := range q.tasks {
		w.trial, w.most, w.due = t, (len(q.tasks)+1)/2, now
	}
	p.mu.Unlock()
	for _, w := range q.tasks {
		p.putBack(w)
	}
}

// shrink has the tasks of a request in fewer others the next time: one of them may be
// what the relay fails on.
func (p *Poller) shrink(q *request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range q.tasks {
		w.most = (len(q.tasks) + 1) / 2
	}
}

// askAlone has a task asked about in a request of its own, from now on.
func (p *Poller) askAlone(w *Watched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.setAlone()
}

func (w *Watched) setAlone() { w.most, w.alone = 1, true }

// endTrial takes in that the relay answered about tasks, or refused the only one.
func (p *Poller) endTrial(q *request, err error) {
	if err == nil {
		q.relay.batch.noteAnswer(len(q.tasks))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range q.tasks {
		t := w.trial
		w.trial = nil
		switch {
		case t == nil && w.alone:
		case t == nil:
			w.most = 0
		case err != nil:
			w.setAlone() // it is what the relay refuses
		default:
			w.most = 0
			if t.open--; t.open == 0 {
				p.judgeTrial(q.relay, t)
			}
		}
	}
}

// judgeTrial finds out why the relay refused a request for tasks of which it refused none
// alone: it takes fewer at once, or it takes as many of others, and one of the two that
// are left is none for company. The mutex is held.
func (p *Poller) judgeTrial(r *relay, t *trial) {
	size := len(t.tasks)
	switch {
	case !r.batch.takes(size):
		r.batch.set((size + 1) / 2)
		p.Log.Warn("the relay refuses requests for so many tasks, and none of them alone: it is asked for fewer at once for a while",
			"relay", r.Name, "tasks", size, "fewer", (size+1)/2)
	case size == 2:
		for _, w := range t.tasks {
			w.setAlone()
		}
	}
}
