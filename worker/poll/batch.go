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
	// answeredBatch is how long the largest number that the relay answered about at once
	// is remembered.
	answeredBatch = time.Minute
	// hopelessFor is how long a relay is not asked by halves that refused all of them
	// down to the last task: the trouble is not one of them.
	hopelessFor = time.Minute
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
	hopeless time.Time // until then it is not asked by halves: it refused everything, alone as well
	doubted  int       // so many at once it may not take, as a search found; 0: there is no doubt
	doubter  *search
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
	if now := time.Now(); tasks >= b.answered || now.Sub(b.at) > answeredBatch {
		b.answered, b.at = tasks, now
	}
	if tasks >= b.doubted {
		b.doubted, b.doubter = 0, nil
	}
	b.hopeless = time.Time{}
}

// doubt takes in that a search found the relay to refuse so many tasks at once, of which
// it refused none alone. It reports whether another search found so before, and the relay
// answered about no more since: the requests of one search may leave no time for others
// that would show what the relay takes.
func (b *batchLimit) doubt(tasks int, by *search) (again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.doubted > 0 && b.doubter != by {
		return true
	}
	b.doubted, b.doubter = tasks, by
	return false
}

// takes reports whether the relay has answered about so many at once since a time.
func (b *batchLimit) takes(tasks int, since time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answered >= tasks && b.at.After(since)
}

// giveUp has requests for several tasks no more asked by halves for a while.
func (b *batchLimit) giveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hopeless = time.Now().Add(hopelessFor)
}

func (b *batchLimit) isHopeless() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.hopeless)
}

// search is for what a relay refuses a request for several tasks because of. Its tasks
// are asked about again by halves, and among themselves.
type search struct {
	begun    time.Time  // the request
	open     int        // tasks whose part has not ended yet
	answered bool       // the relay answered about one
	refused  []*Watched // alone
}

// trial is a request of a search that the relay refused as a whole.
type trial struct {
	*search
	tasks []*Watched
	open  int // those without an answer
}

// gather adds to a request other tasks that are due at its place. Asking about one more
// costs nothing, so those join that would be due within half an interval.
func (p *Poller) gather(q *request) {
	first := q.tasks[0]
	most := q.relay.batch.now(q.relay.BatchSize)
	now := time.Now()
	latest := now.Add(p.Interval / 2)
	p.mu.Lock()
	defer p.mu.Unlock()
	if limit := first.inCompany(now); limit > 0 {
		most = min(most, limit)
	}
	var passed []*Watched
	for len(q.tasks) < most && len(passed) < maxPassedOver {
		w := p.waiting.first()
		if w == nil || w.due.After(latest) {
			break
		}
		p.waiting.remove(w)
		limit := w.inCompany(now)
		if w.relay != q.relay || w.trial != first.trial || limit > 0 && limit <= len(q.tasks) || w.place != q.place {
			passed = append(passed, w)
			continue
		}
		if limit > 0 {
			most = min(most, limit)
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

// inCompany is how many tasks a task is asked about with at most, itself included; 0: as
// many as the relay takes. The mutex is held.
func (w *Watched) inCompany(now time.Time) int {
	if now.Before(w.aloneUntil) {
		return 1
	}
	return w.most
}

// split asks about the tasks of a request that was refused as a whole again at once, by
// halves: they keep their place in front of those that are due later.
func (p *Poller) split(q *request) {
	p.mu.Lock()
	s := &search{begun: q.begun, open: len(q.tasks)}
	if before := q.tasks[0].trial; before != nil {
		s = before.search
	}
	t, now := &trial{search: s, tasks: q.tasks, open: len(q.tasks)}, time.Now()
	for _, w := range q.tasks {
		w.trial, w.most = t, (len(q.tasks)+1)/2
		if w.due.After(now) {
			w.due = now
		}
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

// askAlone has a task asked about in requests of its own for a while.
func (p *Poller) askAlone(w *Watched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.setAlone()
}

func (w *Watched) setAlone() { w.aloneUntil = time.Now().Add(shortFor) }

// endTrial takes in that the relay answered about tasks, or refused the only one.
func (p *Poller) endTrial(q *request, err error) {
	if err == nil {
		q.relay.batch.noteAnswer(len(q.tasks))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range q.tasks {
		t := w.trial
		w.trial, w.most = nil, 0
		if t == nil {
			continue
		}
		t.search.open--
		if err != nil {
			t.refused = append(t.refused, w)
		} else {
			t.answered = true
			if t.open--; t.open == 0 {
				p.judgeTrial(q.relay, t)
			}
		}
		t.search.judge(q.relay)
	}
}

// judge sets those apart that the relay refused alone while it answered about others;
// where it answered about none, the trouble is not one of them.
func (s *search) judge(r *relay) {
	switch {
	case s.answered:
		for _, w := range s.refused {
			w.setAlone()
		}
		s.refused = nil
	case s.open == 0:
		r.batch.giveUp()
	}
}

// judgeTrial finds out why the relay refused a request for tasks of which it refused none
// alone: it takes fewer at once, or it takes as many of others, and one of the two that
// are left is none for company. The mutex is held.
func (p *Poller) judgeTrial(r *relay, t *trial) {
	size := len(t.tasks)
	switch {
	case !r.batch.takes(size, t.begun):
		if !r.batch.doubt(size, t.search) {
			return
		}
		r.batch.set((size + 1) / 2)
		p.Log.Warn("the relay refuses requests for so many tasks, and none of them alone: it is asked for fewer at once for a while",
			"relay", r.Name, "tasks", size, "fewer", (size+1)/2)
	case size == 2:
		for _, w := range t.tasks {
			w.setAlone()
		}
	}
}
