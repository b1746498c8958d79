package poll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/outbound"
)

const (
	// DefaultProbeDistance is between two requests with a refused credential, over the
	// whole deployment: a key is mended by a person, and hammering a relay with
	// it gets it banned.
	DefaultProbeDistance = time.Minute
	// firstProbe is how soon a task is asked about after the pause began that the relay
	// has not refused yet: its answer may show that the key is good.
	firstProbe = 5 * time.Second
	// pauseLook is how often a paused process looks whether a probe is due.
	pauseLook = 500 * time.Millisecond
	// returnTimeout bounds giving a probe back while the process stops.
	returnTimeout = time.Second
	// refusedTasks must be refused in a row until the credential is taken for refused,
	// where there are as many: some may lack the right to a model, or to a path.
	refusedTasks = 3
	// objectionTime is how long the other processes have to say that the relay accepts
	// the credential from them; they look once a second.
	objectionTime = 3 * time.Second
)

// pause is what this process knows of the pause of a credential. The row in the
// database is shared by all processes.
type pause struct {
	mu       sync.Mutex
	on       bool
	asking   bool           // the others are being asked whether the relay accepts it from them
	askedAt  time.Time      // since when
	lookAt   time.Time      // when to look again whether a probe is due
	refused  map[int64]bool // tasks that speak for a pause, since the last good answer
	since    time.Time      // the pause
	hastened time.Time      // the last time that a new task brought a probe forward
	answered time.Time      // the last good answer
}

// paused reports whether polling is paused as far as this process knows.
func (l *lane) paused() bool {
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	return l.pause.on
}

// pauseWait returns how long to wait until a probe may be due; 0 without a pause.
func (l *lane) pauseWait(now time.Time) time.Duration {
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	if !l.pause.on {
		return 0
	}
	return max(l.pause.lookAt.Sub(now), 0)
}

// claimProbe admits a request unless the credential is paused; then it admits the one
// probe that is due.
func (l *lane) claimProbe(ctx context.Context) (probe, admitted bool, err error) {
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	if !l.pause.on {
		return false, true, nil
	}
	l.pause.lookAt = time.Now().Add(pauseLook)
	probe, err = db.ClaimProbe(ctx, l.Pool, l.credential, l.ProbeDistance)
	return probe, probe, err
}

// hastenProbe brings the next probe forward where a task is due that the relay has not
// refused: its answer may show that the key is good. It does so once between two probes.
func (l *lane) hastenProbe(ctx context.Context, w *Watched) {
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	now := time.Now()
	if !l.pause.on || !w.refusedAt.IsZero() || now.Sub(l.pause.hastened) < l.ProbeDistance {
		return
	}
	l.pause.hastened = now
	if err := db.HastenProbe(ctx, l.Pool, l.credential, firstProbe); err != nil && ctx.Err() == nil {
		l.Log.Warn("bringing a probe forward", "error", err.Error())
	}
}

// returnProbe gives back a probe that was claimed but not made.
func (l *lane) returnProbe(probe bool) {
	if !probe {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), returnTimeout)
	defer cancel()
	if err := db.ReturnProbe(ctx, l.Pool, l.credential); err != nil {
		l.Log.Warn("giving a probe back; the next one is a minute away", "error", err.Error())
	}
}

// isRefusal reports whether the relay refused the key, or what it was used for.
func isRefusal(err error) bool {
	apiErr, ok := errors.AsType[*klingapi.Error](err)
	return ok && apiErr.Kind == klingapi.Refused
}

// isAcceptance reports whether the relay let the key in: it answered about the task, or
// said in a code of its own that it does not know it or does not take the question. A page
// of its front end, and trouble on the way, say nothing.
func isAcceptance(err error) bool {
	if err == nil {
		return true
	}
	apiErr, ok := errors.AsType[*klingapi.Error](err)
	return ok && (apiErr.Kind == klingapi.NotFound || apiErr.Kind == klingapi.Rejected && apiErr.HTTPStatus != 0 && apiErr.Code != "")
}

// isAccepted reports whether the relay has lately taken the key, and is not known to
// refuse it since.
func (l *lane) isAccepted(now time.Time) bool {
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	return !l.pause.on && now.Sub(l.pause.answered) < answeredLately
}

// noteAnswer pauses or resumes polling by how a request ended.
func (p *Poller) noteAnswer(ctx context.Context, q *request, err error) {
	var failed error
	switch {
	case isRefusal(err):
		failed = p.noteRefusal(ctx, q, err)
	case isAcceptance(err):
		failed = p.noteAcceptance(ctx, q)
	}
	if failed != nil {
		p.Log.Warn("pausing or resuming polling", "error", failed.Error())
	}
}

// noteAcceptance ends a pause that began before the request: the relay takes the key.
// The tasks that it refused meanwhile are in trouble of their own.
func (p *Poller) noteAcceptance(ctx context.Context, q *request) error {
	// only the goroutine of its request writes refusedAt; others read it under the mutex
	if slices.ContainsFunc(q.tasks, func(w *Watched) bool { return !w.refusedAt.IsZero() }) {
		p.mu.Lock()
		for _, w := range q.tasks {
			w.refusedAt = time.Time{}
		}
		p.mu.Unlock()
	}
	p.pause.mu.Lock()
	defer p.pause.mu.Unlock()
	if p.pause.on && q.begun.Before(p.pause.since) {
		return nil // from before the pause
	}
	p.pause.answered, p.pause.refused = time.Now(), nil
	if !p.pause.on {
		return nil
	}
	if err := db.ResumePolling(ctx, p.Pool, p.credential); err != nil {
		return fmt.Errorf("resuming polling: %w", err)
	}
	p.endPause("the relay accepts the key")
	return nil
}

// noteRefusal pauses the credential when every task is refused that is asked with it:
// at least three of them, or all there are.
func (p *Poller) noteRefusal(ctx context.Context, q *request, err error) error {
	p.pause.mu.Lock()
	answered, known := p.pause.answered, p.pause.on || p.pause.asking
	p.pause.mu.Unlock()
	counting, others := p.whoCounts(q, answered, known)
	if len(counting) == 0 {
		return nil
	}
	p.pause.mu.Lock()
	defer p.pause.mu.Unlock()
	if !p.pause.answered.Equal(answered) {
		return nil // somebody was answered meanwhile
	}
	if len(p.pause.refused) == 0 {
		p.pause.refused = map[int64]bool{}
	}
	for _, id := range counting {
		p.pause.refused[id] = true
	}
	untried := slices.ContainsFunc(others, func(id int64) bool { return !p.pause.refused[id] })
	if len(p.pause.refused) < refusedTasks && untried || p.pause.on || p.pause.asking {
		return nil
	}
	return p.beginPause(ctx, err, untried)
}

// whoCounts returns which of the refused tasks of a request speak for a pause, and
// whose refusal beside them would. answered is the time of the last good answer. A task
// that was refused before that does not count: its trouble is its own. While there are
// tasks here that the relay goes on answering, one that it never answered does not
// either. Where a pause is known already, nobody does.
func (p *Poller) whoCounts(q *request, answered time.Time, known bool) (counting, others []int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range q.tasks {
		if w.refusedAt.IsZero() {
			w.refusedAt = q.begun
		}
	}
	exempt := func(w *Watched) bool { return answered.After(w.refusedAt) && !w.refusedAt.IsZero() }
	if known || !slices.ContainsFunc(q.tasks, func(w *Watched) bool { return !exempt(w) }) {
		return nil, nil
	}
	healthy := false
	for _, w := range p.resident {
		healthy = healthy || w.refusedAt.IsZero() && w.memory.Trouble == 0 && w.task.UpstreamStatus != ""
	}
	counts := func(w *Watched) bool {
		return !exempt(w) && (!healthy || w.task.UpstreamStatus != "")
	}
	for _, w := range q.tasks {
		if counts(w) {
			counting = append(counting, w.task.ID)
		}
	}
	for id, w := range p.resident {
		if counts(w) && !slices.Contains(q.tasks, w) {
			others = append(others, id)
		}
	}
	return counting, others
}

// beginPause writes the pause; the mutex is held. Where other processes work, they may
// object first. untried says that there are tasks that the relay has not refused.
func (l *lane) beginPause(ctx context.Context, why error, untried bool) error {
	probeIn := l.ProbeDistance
	if untried {
		probeIn = min(probeIn, firstProbe)
	}
	alone := l.instances.Load() <= 1
	first, err := db.PausePolling(ctx, l.Pool, l.credential, why.Error(), probeIn, db.PauseStale, alone)
	if err != nil {
		return fmt.Errorf("pausing the credential: %w", err)
	}
	if !alone {
		l.pause.asking, l.pause.askedAt = true, time.Now()
		return nil
	}
	l.joinPause()
	if first {
		l.logPause(why.Error())
	}
	return nil
}

func (l *lane) logPause(reason string) {
	l.Log.Error("polling is paused: the relay refuses the credential; it is probed once a minute and polling resumes by itself",
		"relay", l.relayNames(), "credential", l.credential, "reason", outbound.LogLine(reason))
}

// joinPause makes this process wait; the mutex is held.
func (l *lane) joinPause() {
	now := time.Now()
	l.pause.on, l.pause.asking, l.pause.since, l.pause.lookAt = true, false, now, now.Add(pauseLook)
	l.showPause()
}

// endPause lets requests through again; the mutex is held.
func (l *lane) endPause(why string) {
	l.Log.Info("polling resumes", "relay", l.relayNames(), "credential", l.credential, "reason", why)
	l.pause.on, l.pause.refused = false, nil
	l.showPause()
}

// FollowPauses takes over the pauses that other processes, or an earlier life of this
// one, began, and objects to those of credentials that are accepted here.
func (r *Relays) FollowPauses(ctx context.Context) error {
	pollers := r.pollers()
	credentials := make([]string, len(pollers))
	for i, p := range pollers {
		credentials[i] = p.credential
	}
	pauses, err := db.PausesOf(ctx, r.Pool, credentials, db.PauseStale)
	if err != nil {
		return fmt.Errorf("reading the pauses: %w", err)
	}
	rows := make(map[string]db.Pause, len(pauses))
	for _, row := range pauses {
		rows[row.Credential] = row
	}
	for _, p := range pollers {
		row, there := rows[p.credential]
		if err := p.follow(ctx, row, there); err != nil {
			return fmt.Errorf("following a pause: %w", err)
		}
	}
	return nil
}

// follow brings a lane in line with the row of its pause.
func (l *lane) follow(ctx context.Context, row db.Pause, there bool) error {
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	switch {
	case !there:
		if l.pause.asking {
			l.pause.asking, l.pause.refused, l.pause.answered = false, nil, time.Now() // somebody objected
		}
		if l.pause.on {
			l.endPause("another process was answered")
		}
	case time.Since(l.pause.answered) < row.Age:
		l.pause.asking = false
		if err := db.ResumePolling(ctx, l.Pool, l.credential); err != nil {
			return err
		}
		if l.pause.on {
			l.endPause("the relay accepts the key")
		}
	case !row.Confirmed && l.pause.asking && max(row.Age, time.Since(l.pause.askedAt)) > objectionTime:
		first, err := db.ConfirmPause(ctx, l.Pool, l.credential)
		if err != nil {
			return err
		}
		l.joinPause()
		if first {
			l.logPause(row.Reason)
		}
	case row.Confirmed && !l.pause.on:
		l.joinPause()
	}
	return nil
}
