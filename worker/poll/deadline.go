package poll

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/db"
)

// deadlineGrace is how long after its deadline a task waits for its last poll:
// where the rate is short, or the relay must not be asked, it expires without.
const deadlineGrace = time.Second

// keepDeadlines lets tasks expire that could not be asked about in time, until
// ctx ends.
func (p *Poller) keepDeadlines(ctx context.Context) {
	for {
		next := p.expireOverdue()
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-p.deadlineMoved:
			timer.Stop()
		}
	}
}

// expireOverdue has the expiry of overdue tasks written and returns when to look
// again. One whose poll is on its way is judged by that.
func (p *Poller) expireOverdue() (next time.Time) {
	p.mu.Lock()
	var overdue []*pollResult
	now := time.Now()
	next = now.Add(time.Hour)
	for w := p.deadlines.first(); w != nil; w = p.deadlines.first() {
		if w.expiry.After(now) {
			next = w.expiry
			break
		}
		p.deadlines.remove(w)
		if !w.asked() && !db.Terminal(w.task.Status) {
			p.waiting.remove(w)
			overdue = append(overdue, p.newResult(w, expireUnasked(w.now(now), w.memory), nil, now))
		}
	}
	p.mu.Unlock()
	for _, r := range overdue {
		p.writer.Add(r)
	}
	return next
}
