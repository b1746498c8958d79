package fetch

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Turns lets few downloads run at once, in all and of each host, and those whose
// files expire first begin first. It is safe for concurrent use.
type Turns struct {
	mu   sync.Mutex
	line line
}

// NewTurns admits so many downloads at once.
func NewTurns(inAll, perHost int) *Turns {
	return &Turns{line: line{inAll: inAll, perHost: perHost, hosts: map[string]*hostLine{}}}
}

// Wait returns when a download may begin, and done, which must be called when it has
// ended; calls after the first do nothing. expires may be zero: such files come last.
// Its error is that of the context.
func (t *Turns) Wait(ctx context.Context, host string, expires time.Time) (done func(), err error) {
	w := &waiter{host: host, expires: expires, admitted: make(chan struct{})}
	t.mu.Lock()
	t.line.join(w)
	t.admit()
	t.mu.Unlock()
	select {
	case <-w.admitted:
		return sync.OnceFunc(func() { t.leave(w) }), nil
	case <-ctx.Done():
		t.leave(w)
		return nil, context.Cause(ctx)
	}
}

func (t *Turns) leave(w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line.leave(w)
	t.admit()
}

// admit tells all who may begin now.
func (t *Turns) admit() {
	for w := t.line.next(); w != nil; w = t.line.next() {
		close(w.admitted)
	}
}

// Waiting and Running count downloads, for metrics.
func (t *Turns) Waiting() int { return t.count(func(l *line) int { return l.waiting }) }

// Running counts the downloads that were admitted and have not ended.
func (t *Turns) Running() int { return t.count(func(l *line) int { return l.running }) }

func (t *Turns) count(what func(*line) int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return what(&t.line)
}

// line decides who is next. It knows of no time and no goroutine.
type line struct {
	inAll, perHost   int
	running, waiting int
	joined           uint64 // waiters so far
	hosts            map[string]*hostLine
}

type hostLine struct {
	running int
	waiting waiters
}

// waiter is a download that waits or runs.
type waiter struct {
	host     string
	expires  time.Time
	number   uint64 // in the order of coming
	place    int    // in its host's heap, or out
	admitted chan struct{}
}

// out is the place of who waits no more.
const out = -1

func (l *line) join(w *waiter) {
	h := l.hosts[w.host]
	if h == nil {
		h = &hostLine{}
		l.hosts[w.host] = h
	}
	l.joined++
	w.number = l.joined
	l.waiting++
	heap.Push(&h.waiting, w)
}

// next takes out of the line who may begin now; nil: nobody.
func (l *line) next() *waiter {
	if l.running >= l.inAll {
		return nil
	}
	var first *waiter
	for _, h := range l.hosts {
		if len(h.waiting) > 0 && h.running < l.perHost && (first == nil || before(h.waiting[0], first)) {
			first = h.waiting[0]
		}
	}
	if first == nil {
		return nil
	}
	h := l.hosts[first.host]
	heap.Pop(&h.waiting)
	l.waiting--
	l.running++
	h.running++
	return first
}

// leave removes a waiter, whether it waits or runs.
func (l *line) leave(w *waiter) {
	h := l.hosts[w.host]
	if w.place == out {
		l.running--
		h.running--
	} else {
		heap.Remove(&h.waiting, w.place)
		l.waiting--
	}
	if h.running == 0 && len(h.waiting) == 0 {
		delete(l.hosts, w.host)
	}
}

// before says who of two waiters is first: whose file expires first, then who came first.
func before(a, b *waiter) bool {
	switch {
	case a.expires.Equal(b.expires):
		return a.number < b.number
	case a.expires.IsZero() || b.expires.IsZero():
		return b.expires.IsZero()
	}
	return a.expires.Before(b.expires)
}

// waiters of a host, as a heap.
type waiters []*waiter

func (w waiters) Len() int           { return len(w) }
func (w waiters) Less(i, j int) bool { return before(w[i], w[j]) }
func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].place, w[j].place = i, j
}

// Push is for package heap.
func (w *waiters) Push(x any) {
	one := x.(*waiter)
	one.place = len(*w)
	*w = append(*w, one)
}

// Pop is for package heap.
func (w *waiters) Pop() any {
	last := len(*w) - 1
	one := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	one.place = out
	return one
}
