package schedules

import (
	"testing"
	"time"
)

func TestTheLearnedScheduleSeesEndsSoonerWithAsManyPolls(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ spread, atMost float64 }{{0.1, 0.3}, {0.2, 0.48}, {0.3, 0.68}, {0.5, 0.95}, {1, 1.1}} {
		sim := simulate(2*time.Minute, c.spread, 5*time.Second, 4000, 1)
		ratio := sim.learnedDelay.Seconds() / sim.fixedDelay.Seconds()
		t.Logf("spread %.1f: delay %s to %s (%.2f) with %.1f and %.1f polls", c.spread, sim.learnedDelay.Round(time.Millisecond), sim.fixedDelay.Round(time.Millisecond), ratio, sim.learnedPolls, sim.fixedPolls)
		if ratio > c.atMost || sim.learnedPolls > sim.fixedPolls*1.03 {
			t.Errorf("spread %.1f: %.2f of the delay with %.1f polls against %.1f", c.spread, ratio, sim.learnedPolls, sim.fixedPolls)
		}
	}
}
