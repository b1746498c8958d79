package worker

import (
	"context"
	"errors"
	"fmt"
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
}

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

// learn pauses or resumes by the answer to a question with the credential.
func (w *Worker) learn(ctx context.Context, probe bool, answer error) error {
	var apiErr *klingapi.Error
	isErr := errors.As(answer, &apiErr)
	if !probe && (!isErr || apiErr.Kind != klingapi.Refused) {
		return nil
	}
	w.pause.mu.Lock()
	defer w.pause.mu.Unlock()
	switch {
	case isErr && apiErr.Kind == klingapi.Refused:
		return w.beginPause(ctx, apiErr)
	case probe && !relayInTrouble(answer):
		return w.forgetPause(ctx, "the probe was answered")
	}
	return nil // trouble on the way says nothing about the credential
}

// beginPause writes the pause; the mutex is held.
func (w *Worker) beginPause(ctx context.Context, why *klingapi.Error) error {
	if w.pause.credential != "" {
		return nil
	}
	credential := w.Relay.Credential()
	first, err := db.PausePolling(ctx, w.Pool, credential, why.Error(), w.ProbeDistance)
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
	w.pause.credential = ""
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
