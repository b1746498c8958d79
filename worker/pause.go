package worker

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
)

const (
	// DefaultProbeDistance is between two questions with a refused credential, over the
	// whole deployment: a key is mended by a person, and hammering a relay with
	// it gets it banned.
	DefaultProbeDistance = time.Minute
	// pauseLook is how often a paused instance looks whether polling resumed.
	pauseLook = 500 * time.Millisecond
	// PauseStale is when a pause that nobody probes is forgotten: its credential
	// is not in use any more.
	PauseStale = 5 * DefaultProbeDistance
)

// pause is what this instance knows of the pause of its credential. The row in
// the database is shared by all instances.
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

// admitCredential lets a question through unless the credential is paused;
// then it returns how long to wait, or admits the one probe that is due. A
// rotated key is another credential and not paused.
func (w *Worker) admitCredential(ctx context.Context, now time.Time) (probe bool, wait time.Duration, err error) {
	w.pause.mu.Lock()
	defer w.pause.mu.Unlock()
	if w.pause.credential == "" {
		return false, 0, nil
	}
	credential := w.Relay.Credential()
	if w.pause.credential != credential {
		return false, 0, w.forgetPause(ctx, "the credential was changed")
	}
	if now.Before(w.pause.lookAt) {
		return false, w.pause.lookAt.Sub(now), nil
	}
	w.pause.lookAt = now.Add(pauseLook)
	if probe, err = db.ClaimProbe(ctx, w.Pool, credential, w.ProbeDistance); err != nil || probe {
		return probe, 0, err
	}
	pauses, err := db.Pauses(ctx, w.Pool, PauseStale)
	if err != nil {
		return false, 0, err
	}
	for _, p := range pauses {
		if p.Credential == credential {
			return false, pauseLook, nil
		}
	}
	return false, 0, w.forgetPause(ctx, "another instance was answered")
}

// learn pauses or resumes by the answer to a question about a task that was
// asked with a credential.
func (w *Worker) learn(ctx context.Context, task int64, credential string, probe bool, answer error) error {
	var apiErr *klingapi.Error
	isErr := errors.As(answer, &apiErr)
	refusal := isErr && apiErr.Kind == klingapi.Refused
	w.pause.mu.Lock()
	defer w.pause.mu.Unlock()
	switch {
	case refusal && w.credentialRefused(task, apiErr):
		return w.beginPause(ctx, credential, apiErr)
	case !refusal && !relayInTrouble(answer):
		w.pause.forbidden = nil
		if probe {
			return w.forgetPause(ctx, "the probe was answered")
		}
	}
	return nil // trouble on the way says nothing about the credential
}

// credentialRefused tells whether a refusal means the credential as a whole;
// the mutex is held.
func (w *Worker) credentialRefused(task int64, why *klingapi.Error) bool {
	if why.HTTPStatus != http.StatusForbidden && why.Code != "1103" {
		return true
	}
	if !slices.Contains(w.pause.forbidden, task) {
		w.pause.forbidden = append(w.pause.forbidden, task)
	}
	return len(w.pause.forbidden) >= forbiddenTasks
}

// beginPause writes the pause; the mutex is held. A refusal of a key that was
// rotated meanwhile is of no interest.
func (w *Worker) beginPause(ctx context.Context, credential string, why *klingapi.Error) error {
	if w.pause.credential != "" || credential != w.Relay.Credential() {
		return nil
	}
	first, err := db.PausePolling(ctx, w.Pool, credential, why.Error(), w.ProbeDistance, PauseStale)
	if err != nil {
		return fmt.Errorf("pausing the credential: %w", err)
	}
	w.notePause(credential)
	if first {
		w.Log.Error("polling is paused: the relay refuses the credential; it is probed once a minute and polling resumes by itself",
			"credential", credential, "reason", redact(why.Error()))
	}
	return nil
}

// notePause makes this instance wait; the mutex is held.
func (w *Worker) notePause(credential string) {
	w.pause.credential, w.pause.lookAt = credential, time.Now().Add(pauseLook)
	w.Metrics.PollingPaused.Set(1)
}

// forgetPause lets questions through again; the mutex is held.
func (w *Worker) forgetPause(ctx context.Context, why string) error {
	if err := db.ResumePolling(ctx, w.Pool, w.pause.credential); err != nil {
		return fmt.Errorf("resuming polling: %w", err)
	}
	w.Log.Info("polling resumes", "credential", w.pause.credential, "reason", why)
	w.pause.credential, w.pause.forbidden = "", nil
	w.Metrics.PollingPaused.Set(0)
	return nil
}

// followPause takes over a pause that another instance, or an earlier life of
// this one, began.
func (w *Worker) followPause(ctx context.Context) error {
	pauses, err := db.Pauses(ctx, w.Pool, PauseStale)
	if err != nil {
		return fmt.Errorf("reading the pauses: %w", err)
	}
	w.pause.mu.Lock()
	defer w.pause.mu.Unlock()
	for _, p := range pauses {
		if p.Credential == w.Relay.Credential() && w.pause.credential == "" {
			w.notePause(p.Credential)
		}
	}
	return nil
}
