package poll

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
	// pauseLook is how often a paused instance looks whether polling resumed.
	pauseLook = 500 * time.Millisecond
	// returnTimeout bounds giving a probe back while the process stops.
	returnTimeout = time.Second
)

// pause is what this process knows of the pause of its credential. The row in
// the database is shared by all processes.
type pause struct {
	mu         sync.Mutex
	credential string    // paused; "": none
	lookAt     time.Time // when to look at the row again
	forbidden  []int64   // tasks that were forbidden since the last good answer
}

// forbiddenTasks is how many different tasks must be forbidden (403, 1103) in a
// row until the credential as a whole is taken for refused: the account may only
// lack the right to one model.
const forbiddenTasks = 3

// paused reports whether polling is paused as far as this process knows.
func (l *Lane) paused() bool {
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	return l.pause.credential != ""
}

// pauseWait returns how long to wait until the pause is looked at again; 0
// without a pause. A rotated key is another credential and not paused.
func (l *Lane) pauseWait(now time.Time) time.Duration {
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	if l.pause.credential == "" || l.pause.credential != l.Relay.Credential() {
		return 0
	}
	return max(l.pause.lookAt.Sub(now), 0)
}

// claimProbe admits a request unless the credential is paused; then it admits
// the one probe that is due.
func (l *Lane) claimProbe(ctx context.Context) (probe, admitted bool, err error) {
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	if l.pause.credential == "" {
		return false, true, nil
	}
	credential := l.Relay.Credential()
	if l.pause.credential != credential {
		return false, true, l.leavePause(ctx)
	}
	l.pause.lookAt = time.Now().Add(pauseLook)
	if probe, err = db.ClaimProbe(ctx, l.Pool, credential, l.ProbeDistance); err != nil || probe {
		return probe, probe, err
	}
	pauses, err := db.Pauses(ctx, l.Pool, db.PauseStale)
	if err != nil {
		return false, false, err
	}
	if slices.ContainsFunc(pauses, func(p db.Pause) bool { return p.Credential == credential }) {
		return false, false, nil
	}
	l.endPause("another process was answered")
	return false, true, nil
}

// returnProbe gives back a probe that was claimed but not made.
func (l *Lane) returnProbe(w *Watched) {
	if !w.probe {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), returnTimeout)
	defer cancel()
	if err := db.ReturnProbe(ctx, l.Pool, l.Relay.Credential()); err != nil {
		l.Log.Warn("giving a probe back; the next one is a minute away", "error", err.Error())
	}
}

// notePauses pauses or resumes polling by how a request about a task ended that
// was made with a credential; err is nil where it was answered.
func (l *Lane) notePauses(ctx context.Context, task int64, credential string, probe bool, err error) error {
	apiErr, isErr := errors.AsType[*klingapi.Error](err)
	refusal := isErr && apiErr.Kind == klingapi.Refused
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	switch {
	case refusal && l.credentialRefused(task, apiErr):
		return l.beginPause(ctx, credential, apiErr)
	case !refusal && !relayInTrouble(err):
		l.pause.forbidden = nil
		if probe && l.pause.credential == credential {
			if err := db.ResumePolling(ctx, l.Pool, credential); err != nil {
				return fmt.Errorf("resuming polling: %w", err)
			}
			l.endPause("the probe was answered")
		}
	}
	return nil // trouble on the way says nothing about the credential
}

// credentialRefused reports whether a refusal means the credential as a whole;
// the mutex is held.
func (l *Lane) credentialRefused(task int64, why *klingapi.Error) bool {
	if why.HTTPStatus != http.StatusForbidden && why.Code != "1103" {
		return true
	}
	if !slices.Contains(l.pause.forbidden, task) {
		l.pause.forbidden = append(l.pause.forbidden, task)
	}
	return len(l.pause.forbidden) >= forbiddenTasks
}

// beginPause writes the pause; the mutex is held. A refusal of a key that was
// rotated meanwhile is of no interest.
func (l *Lane) beginPause(ctx context.Context, credential string, why *klingapi.Error) error {
	if l.pause.credential != "" || credential != l.Relay.Credential() {
		return nil
	}
	first, err := db.PausePolling(ctx, l.Pool, credential, why.Error(), l.ProbeDistance, db.PauseStale)
	if err != nil {
		return fmt.Errorf("pausing the credential: %w", err)
	}
	l.joinPause(credential)
	if first {
		l.Log.Error("polling is paused: the relay refuses the credential; it is probed once a minute and polling resumes by itself",
			"credential", credential, "reason", outbound.LogLine(why.Error()))
	}
	return nil
}

// joinPause makes this process wait; the mutex is held.
func (l *Lane) joinPause(credential string) {
	l.pause.credential, l.pause.lookAt = credential, time.Now().Add(pauseLook)
	l.Metrics.PollingPaused.Set(1)
}

// endPause lets requests through again; the mutex is held.
func (l *Lane) endPause(why string) {
	l.Log.Info("polling resumes", "credential", l.pause.credential, "reason", why)
	l.pause.credential, l.pause.forbidden = "", nil
	l.Metrics.PollingPaused.Set(0)
}

// leavePause ends the pause of a credential that this process no longer uses;
// the mutex is held. Others may still use it: then its row stays, and goes stale
// when nobody probes it any more.
func (l *Lane) leavePause(ctx context.Context) error {
	processes, err := db.LiveInstances(ctx, l.Pool)
	if err == nil && processes <= 1 {
		err = db.ResumePolling(ctx, l.Pool, l.pause.credential)
	}
	if err != nil {
		return fmt.Errorf("resuming polling with another credential: %w", err)
	}
	l.endPause("the credential was changed")
	return nil
}

// FollowPause takes over a pause that another process, or an earlier life of
// this one, began.
func (l *Lane) FollowPause(ctx context.Context) error {
	pauses, err := db.Pauses(ctx, l.Pool, db.PauseStale)
	if err != nil {
		return fmt.Errorf("reading the pauses: %w", err)
	}
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	for _, p := range pauses {
		if p.Credential == l.Relay.Credential() && l.pause.credential == "" {
			l.joinPause(p.Credential)
		}
	}
	return nil
}
