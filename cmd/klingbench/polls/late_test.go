package polls

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

func TestLatenessJoinsTheNthPollWithTheNthArrival(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	at := func(d time.Duration) int64 { return begun.Add(d).UnixNano() }
	const ms = time.Millisecond
	f := flown{
		Usage: bench.Usage{From: begun, Elapsed: 100 * ms},
		polls: []contender.Poll{
			{Task: 1, Due: at(-5 * ms), Begun: at(-4 * ms)}, // before the window
			{Task: 1, Due: at(10 * ms), Begun: at(11 * ms)},
			{Task: 2, Due: at(20 * ms), Begun: at(20 * ms)},
		},
		arrivals: []standin.Arrival{{Task: 1, At: at(-3 * ms)}, {Task: 2, At: at(24 * ms)}, {Task: 1, At: at(12 * ms)}},
	}
	late, err := f.lateness()
	if err != nil || !slices.Equal(late.arrived, []float64{2, 4}) || !slices.Equal(late.begun, []float64{1, 0}) {
		t.Errorf("got %+v, %v", late, err)
	}
	f.arrivals[2].At = at(5 * ms)
	if _, err := f.lateness(); err == nil {
		t.Error("an arrival before the start of its poll was accepted")
	}
}

// The worker notes a poll before it sends it.
func TestAPollOnItsWayIsWaitedFor(t *testing.T) {
	t.Parallel()
	polls := []contender.Poll{{Task: 1}, {Task: 2}, {Task: 1}}
	looks := [][]standin.Arrival{
		{{Task: 1}, {Task: 2}},
		{{Task: 1}, {Task: 2}, {Task: 2}}, // as many as polls, but one of them is newer
		{{Task: 1}, {Task: 2}, {Task: 2}, {Task: 1}},
	}
	next := 0
	arrivals, err := awaitArrivals(t.Context(), polls, func(context.Context) ([]standin.Arrival, error) {
		next++
		return looks[next-1], nil
	})
	if err != nil || next != len(looks) || len(arrivals) != 4 {
		t.Errorf("after %d looks: %v, %v", next, arrivals, err)
	}
}
