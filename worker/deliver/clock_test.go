package deliver

import (
	"testing"
	"time"
)

func TestAClockThatMovesIsNoticed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	database := now.Add(-3 * time.Hour) // in a place of its own
	for _, c := range []struct {
		name  string
		steps []time.Duration // by how much it differs at each reading, a second apart
		asked time.Duration   // after the last one
		want  bool
	}{
		{"one reading", []time.Duration{0}, 0, false},
		{"a clock that runs", []time.Duration{0, 0, 100 * time.Millisecond}, 0, false},
		{"a slow query", []time.Duration{0, -5 * time.Second, 0}, 0, false},
		{"an hour forward", []time.Duration{0, time.Hour}, 0, true},
		{"an hour forward, and back", []time.Duration{0, time.Hour, 0}, time.Minute, true},
		{"an hour back", []time.Duration{0, -time.Hour}, 0, true},
		{"long ago", []time.Duration{0, time.Hour}, holdStep, false},
	} {
		watch := &clockWatch{}
		at := now
		for _, step := range c.steps {
			at = at.Add(time.Second)
			watch.note(database.Add(at.Sub(now)+step), at)
		}
		if got := watch.hasMoved(at.Add(c.asked)); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
