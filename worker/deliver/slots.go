package deliver

import (
	"slices"
	"time"
)

const (
	// MaxSending bounds the requests of a process on their way at once, and with them its
	// memory (docs/benchmarks.md). Those that may be answered any moment and those whose
	// answer is late leave some slots to each other.
	MaxSending = 1600
	maxTimely  = 1000
	maxLate    = 1200
	// MaxResident bounds the deliveries that are here, on their way or waiting, but for the
	// first one of each host. Each needs a job that runs; a job too many would only be put
	// off. Some are left to the first ones of receivers.
	MaxResident = 4500
	maxOrdinary = MaxResident - 500

	// One host leaves some of the slots of late requests to others.
	maxLateHost = maxLate * 5 / 6
	// maxWaiting deliveries wait in memory for a slot of their receiver, for
	// maxWait; the others are brought back when their turn has come. More of them
	// where that is sooner than they would be brought back.
	maxWaiting     = 200
	maxWaitingFast = 1000
	maxWait        = 15 * time.Second
	// Receivers without a 2xx must leave some of the room to wait to the others.
	maxWaitingUnproven = 1000
)

// sending counts requests on their way by what their receivers were then; late are
// those whose answer should have come.
type sending struct{ proven, unproven, late int }

func (s *sending) all() int { return s.proven + s.unproven + s.late }

// timely counts those that may be answered any moment.
func (s *sending) timely() int { return s.proven + s.unproven }

func (s *sending) count(p *pass, n int) {
	switch {
	case p.late:
		s.late += n
	case p.standing == proven:
		s.proven += n
	default:
		s.unproven += n
	}
}

// turn is a delivery that waits for a slot.
type turn struct {
	granted chan *pass // one value; nil: stay away
}

// pass is the right to send one request to a receiver.
type pass struct {
	receiver  *receiver
	standing  standing // of the receiver, then
	probe     bool     // the one request that the open breaker of the receiver lets through
	hostProbe bool     // the same of its host
	begun     time.Time
	connected time.Time   // zero: not yet
	patience  *time.Timer // from then on, until the answer is late
	late      bool
	released  bool
	waited    bool // so that what was read before may be old
}

// room reports whether one more delivery may wait here. The first one of a host
// always may, so that it gets its turn however many others wait, and there is some
// room for the first ones of receivers alone.
func (rs *receivers) room(r *receiver) bool {
	if r.host.waiting == 0 {
		return true
	}
	if r.stuck(time.Now()) {
		return false
	}
	resident := rs.waiting + rs.sending.all()
	if len(r.waiting) == 0 {
		return resident < MaxResident && r.host.room(r.standing)
	}
	if r.standing != proven && rs.waiting >= maxWaitingUnproven {
		return false
	}
	here, turn := maxWaiting, r.turnIn(len(r.waiting))
	if r.standing == proven && turn < minHold {
		here = maxWaitingFast
	}
	return resident < maxOrdinary && len(r.waiting) < here && turn <= maxWait
}

// free reports whether a request may be sent now.
func (rs *receivers) free(r *receiver, now time.Time) bool {
	return r.takes(now) && r.host.admits(r.standing, now) && rs.slot(r.standing)
}

// slot reports whether the process has one for a receiver of this standing. Those
// whose last answer was a 2xx, and the others, leave some to each other: neither those
// that never answer can take every slot, however many they are, nor those that are slow.
func (rs *receivers) slot(s standing) bool {
	slots := rs.timely()
	switch {
	case rs.sending.timely() >= slots:
		return false
	case s == proven:
		return rs.sending.proven < slots*9/10
	}
	return rs.sending.unproven < slots*3/4
}

// timely is the number of slots for requests that are not late.
func (rs *receivers) timely() int { return min(maxTimely, MaxSending-rs.sending.late) }

func (rs *receivers) take(r *receiver, now time.Time) *pass {
	p := &pass{receiver: r, begun: now, standing: r.standing, probe: r.broken(), hostProbe: r.host.broken()}
	rs.count(p, 1)
	r.probing = r.probing || p.probe
	r.host.probing = r.host.probing || p.hostProbe
	return p
}

func (rs *receivers) count(p *pass, n int) {
	rs.sending.count(p, n)
	p.receiver.host.sending.count(p, n)
	p.receiver.sending.count(p, n)
}

func (rs *receivers) countWaiting(r *receiver, n int) {
	rs.waiting += n
	r.host.waiting += n
}

// giveBack frees the slot of a pass for those that wait.
func (rs *receivers) giveBack(p *pass) {
	r, now := p.receiver, time.Now()
	p.released = true
	if p.patience != nil {
		p.patience.Stop()
	}
	r.probing = r.probing && !p.probe
	r.host.probing = r.host.probing && !p.hostProbe
	rs.count(p, -1)
	r.used = now
	r.settle()
	r.host.line(r, now)
	rs.advance(r.host)
}

// advance grants turns. The host that has changed stands at the end of the line of
// all that lack only a slot of the process: else a slow one with a backlog would
// take its own slots again and again.
func (rs *receivers) advance(h *host) {
	rs.queue(h)
	for range len(rs.queued) {
		if rs.sending.timely() >= rs.timely() {
			return
		}
		next := rs.queued[0]
		rs.queued = rs.queued[1:]
		next.queued = false
		rs.grant(next)
	}
}

func (rs *receivers) queue(h *host) {
	if !h.queued {
		h.queued = true
		rs.queued = append(rs.queued, h)
	}
}

// grant gives a host's waiting deliveries what is free, the proven receivers first,
// and one after the other.
func (rs *receivers) grant(h *host) {
	now := time.Now()
	for i := range h.lines {
		for s := standing(i); len(h.lines[s]) > 0 && h.admits(s, now); {
			if !rs.slot(s) {
				rs.queue(h)
				break
			}
			if r := h.next(s, now); r != nil {
				rs.grantTo(r, now)
				h.line(r, now)
			}
		}
	}
	h.settle()
	if !h.waking && now.Before(h.owes) && len(h.lines[untried])+len(h.lines[failing]) > 0 {
		h.waking = true
		time.AfterFunc(h.owes.Sub(now), func() { rs.wake(h) })
	}
}

// grantTo lets the first that waits for a receiver be sent.
func (rs *receivers) grantTo(r *receiver, now time.Time) {
	t := r.waiting[0]
	r.waiting = r.waiting[1:]
	rs.countWaiting(r, -1)
	t.granted <- rs.take(r, now)
	r.settle()
}

// wake goes on with a host that has waited after failures.
func (rs *receivers) wake(h *host) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	h.waking = false
	rs.advance(h)
}

// drop takes a turn out of the line.
func (rs *receivers) drop(r *receiver, t *turn) {
	if i := slices.Index(r.waiting, t); i >= 0 {
		r.waiting = slices.Concat(r.waiting[:i], r.waiting[i+1:])
		rs.countWaiting(r, -1)
	}
}
