package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

// newClient is the HTTP client that all contenders use: with the settings that
// klingwatch has by default.
func newClient(relayURL string) (*klingapi.Client, error) {
	return klingapi.New(klingapi.Config{BaseURL: relayURL, Credential: klingapi.StaticKey("bench-key")})
}

func refOf(number int) klingapi.Ref {
	return klingapi.Ref{Action: action, Action2: action2, TaskID: taskID(number)}
}

// LimitPlan is a measurement of the HTTP client alone.
type LimitPlan struct {
	RelayURL   string
	Tasks      int // at the relay; asked in turn
	Goroutines int
	Duration   time.Duration
}

// httpLimit is the process that asks without a database: the limit that a
// poller with this client can come near to.
type httpLimit struct {
	ctx    context.Context
	client *klingapi.Client
}

// Measure asks for the planned time and returns how many were answered.
func (h *httpLimit) Measure(plan LimitPlan, answered *int64) (err error) {
	if h.client == nil {
		if h.client, err = newClient(plan.RelayURL); err != nil {
			return err
		}
	}
	*answered, err = hammer(h.ctx, plan.Goroutines, plan.Duration, func(ctx context.Context, n int) error {
		_, err := h.client.GetTask(ctx, refOf(n%plan.Tasks+1))
		return err
	})
	return err
}

// hammer makes requests, numbered from 1, for some time and counts the good ones.
// It ends with the first that fails.
func hammer(ctx context.Context, goroutines int, duration time.Duration, request func(ctx context.Context, n int) error) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var next, good atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := request(ctx, int(next.Add(1)))
				switch {
				case err == nil:
					good.Add(1)
				case ctx.Err() == nil:
					failed.Store(&err)
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return good.Load(), nil
}
