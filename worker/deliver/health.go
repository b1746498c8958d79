package deliver

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
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

// remedy is what is done about an endpoint that fails.
type remedy int

const (
	remedyNone remedy = iota
	remedyWarn
	remedyDisable
)

// remedyFor decides by how long an endpoint has failed.
func remedyFor(e db.FailingEndpoint) remedy {
	switch {
	case e.Failures < disableFailures || e.Quiet > disableQuiet:
		return remedyNone
	case e.FailingFor >= disableAfter:
		return remedyDisable
	case e.FailingFor >= warnAfter && !e.Warned:
		return remedyWarn
	}
	return remedyNone
}

// WatchEndpoints warns about endpoints that fail for long, and disables those
// that fail for days.
func (s *Sender) WatchEndpoints(ctx context.Context) error {
	ctx = ledger.WithOrderWait(ctx, s.OrderWait)
	var (
		warned   []db.FailingEndpoint
		disabled []ledger.Disabling
	)
	err := pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error {
		failing, err := db.FailingEndpoints(ctx, tx, warnAfter)
		if err != nil {
			return err
		}
		var disable []ledger.Disabling
		var warn []ledger.Warning
		for _, e := range failing {
			switch remedyFor(e) {
			case remedyDisable:
				reason := fmt.Sprintf("it failed for %s without a 2xx; last: %s", hours(e.FailingFor), e.LastError)
				disable = append(disable, ledger.Disabling{Endpoint: e.ID, URL: e.URL, Reason: reason})
			case remedyWarn:
				warn, warned = append(warn, ledger.Warning{Endpoint: e.ID, Reason: e.LastError}), append(warned, e)
			case remedyNone:
			}
		}
		disabled, err = ledger.TendEndpoints(ctx, tx, disable, warn)
		return err
	})
	if err != nil {
		return fmt.Errorf("looking after failing endpoints: %w", err)
	}
	for _, d := range disabled {
		s.logDisabled(d)
	}
	for _, e := range warned {
		s.Log.Warn("a webhook endpoint has failed for long and will be disabled", "endpoint", e.ID, "url", webhook.HostOf(e.URL),
			"failing_for", hours(e.FailingFor), "disabled_after", disableAfter.String(), "error", e.LastError)
	}
	return nil
}

func hours(d time.Duration) string { return d.Round(time.Hour).String() }
