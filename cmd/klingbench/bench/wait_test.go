package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestUntilReturnsWhatItSawWhenItHeld(t *testing.T) {
	t.Parallel()
	looks := 0
	look := func(context.Context) (int, error) { looks++; return looks, nil }
	seen, err := Until(t.Context(), "there were three looks", time.Minute, look, func(n int) bool { return n == 3 })
	if seen != 3 || err != nil {
		t.Errorf("got %d, %v; want 3", seen, err)
	}
}

func TestUntilSaysWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	look := func(context.Context) (bool, error) { return true, nil }
	_, err := Until(t.Context(), "nothing is left", 0, look, func(left bool) bool { return !left })
	if err == nil || !strings.Contains(err.Error(), "waiting until nothing is left") {
		t.Errorf("the error is %v", err)
	}
}

func TestUntilEndsWithItsContextAndWithAFailedLook(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	never := func(bool) bool { return false }
	if _, err := Until(ctx, "ever", time.Minute, func(context.Context) (bool, error) { return false, nil }, never); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want that of the context", err)
	}
	broken := errors.New("broken")
	if _, err := Until(t.Context(), "ever", time.Minute, func(context.Context) (bool, error) { return false, broken }, never); !errors.Is(err, broken) {
		t.Errorf("the error is %v, want that of the look", err)
	}
}
