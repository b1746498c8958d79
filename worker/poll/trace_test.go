package poll

import (
	"errors"
	"testing"
	"time"
)

// Without a tracer nothing is made, on the way of every poll.
func TestNothingIsTracedWithoutATracer(t *testing.T) {
	// not parallel: allocations are counted
	c, w := &common{}, &writer{}
	batch := []*pollResult{{}}
	if n := testing.AllocsPerRun(100, func() {
		c.tracePoll(batch[0], time.Time{}, time.Time{}, errors.ErrUnsupported)
		w.traceWrites(batch)(nil, nil)
		if batch[0].traceparent() != "" {
			t.Error("a traceparent")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
