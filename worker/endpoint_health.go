package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

const (
	// warnAfter of nothing but failures an endpoint is warned about; disableAfter
	// it is disabled, a day or more after the last retry of a delivery could
	// have helped.
	warnAfter    = 24 * time.Hour
	disableAfter = 5 * 24 * time.Hour
	// It takes minutes with failures, the last of them not long ago: one failure
	// before days in which nothing was sent proves nothing.
	disableFailures = 5
	disableQuiet    = 24 * time.Hour
)

// care is what is done about an endpoint that fails.
type care int

const (
	careNone care = iota
	careWarn
	careDisable
)

// careFor decides by how long an endpoint has failed.
func careFor(e db.FailingEndpoint) care {
	switch {
	case e.Failures < disableFailures || e.Quiet > disableQuiet:
		return careNone
	case e.FailingFor >= disableAfter:
		return careDisable
	case e.FailingFor >= warnAfter && !e.Warned:
		return careWarn
	}
	return careNone
}

// watchEndpoints warns about endpoints that fail for long, and disables those
// that fail for days.
func (w *Worker) watchEndpoints(ctx context.Context) error {
	var told []func()
	err := pgx.BeginFunc(ctx, w.Pool, func(tx pgx.Tx) error {
		failing, err := db.FailingEndpoints(ctx, tx, warnAfter)
		if err != nil {
			return err
		}
		for _, e := range failing {
			tell, err := w.careFor(ctx, tx, e)
			if err != nil {
				return err
			}
			if tell != nil {
				told = append(told, tell)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking after failing endpoints: %w", err)
	}
	for _, tell := range told {
		tell()
	}
	return nil
}

// careFor does what is decided; tell is for after the commit.
func (w *Worker) careFor(ctx context.Context, tx pgx.Tx, e db.FailingEndpoint) (tell func(), err error) {
	days := e.FailingFor.Round(time.Hour).String()
	switch careFor(e) {
	case careDisable:
		reason := fmt.Sprintf("it failed for %s without a 2xx; last: %s", days, e.LastError)
		disabled, err := disable(ctx, tx, []unwanted{{e.ID, e.URL, reason}})
		if err != nil || len(disabled) == 0 {
			return nil, err
		}
		return func() { w.tellDisabled(e.ID, reason) }, nil
	case careWarn:
		if err := addEndpointEvent(ctx, tx, e.ID, webhook.EndpointFailing, e.LastError); err != nil {
			return nil, err
		}
		return func() {
			w.Log.Warn("a webhook endpoint has failed for long and will be disabled", "endpoint", e.ID, "url", hostOf(e.URL),
				"failing_for", days, "disabled_after", disableAfter.String(), "error", e.LastError)
		}, db.MarkWarned(ctx, tx, e.ID)
	case careNone:
	}
	return nil, nil
}
