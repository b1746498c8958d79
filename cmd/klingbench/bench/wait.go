package bench

import (
	"context"
	"fmt"
	"time"
)

const (
	// Settle lets a server or process that has just started come to rest.
	Settle = 500 * time.Millisecond
	// WarmUp opens the connections of a client before it is measured.
	WarmUp = 300 * time.Millisecond
	// SaturatedLimit bounds the wait for the end of all that was prepared at once.
	SaturatedLimit = 5 * time.Minute

	// lookEvery is how often a measurement checks whether it is over.
	lookEvery = 10 * time.Millisecond
)

// Until looks again and again until holds returns true, and returns what it saw
// last. After the limit it returns an error that says what it waited for.
func Until[T any](ctx context.Context, what string, limit time.Duration, look func(context.Context) (T, error), holds func(T) bool) (T, error) {
	for deadline := time.Now().Add(limit); ; {
		seen, err := look(ctx)
		if err != nil || holds(seen) {
			return seen, err
		}
		if time.Now().After(deadline) {
			return seen, fmt.Errorf("waiting until %s: it is not so after %s", what, limit)
		}
		if err := Pause(ctx, lookEvery); err != nil {
			return seen, err
		}
	}
}

// UntilNone looks until nothing is left; see Until.
func UntilNone(ctx context.Context, what string, left func(context.Context) (bool, error)) error {
	_, err := Until(ctx, what, SaturatedLimit, left, func(left bool) bool { return !left })
	return err
}

// Pause waits for some time, or returns the error of ctx.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
