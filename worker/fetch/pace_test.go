package fetch

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// alive sleeps and reports whether the attempt goes on.
func alive(p *pace, after time.Duration) bool {
	time.Sleep(after)
	synctest.Wait()
	return p.ctx.Err() == nil
}

func TestAnAttemptGoesOnAsLongAsEachWindowBringsEnough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := watch(t.Context(), time.Minute, 1000)
		defer p.stop()
		body := measured{strings.NewReader(strings.Repeat("x", 10_000)), p}
		if !alive(p, 59*time.Second) {
			t.Fatal("the headers have a window")
		}
		p.begin()
		if !alive(p, time.Minute) {
			t.Fatal("the body has a full one, not what the headers left of theirs")
		}
		for range 10 {
			if _, err := io.CopyN(io.Discard, &body, 1000); err != nil || !alive(p, time.Minute) {
				t.Fatal("a window with enough")
			}
		}
		_, _ = io.CopyN(io.Discard, &body, 999)
		if alive(p, time.Minute) || !errors.Is(context.Cause(p.ctx), errSlow) {
			t.Error("a window with too little")
		}
	})
}

func TestAHostThatDoesNotAnswerHasOneWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := watch(t.Context(), time.Minute, 1000)
		defer p.stop()
		if alive(p, time.Minute) {
			t.Error("it goes on")
		}
	})
}
