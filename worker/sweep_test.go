package worker

import (
	"testing"
	"time"
)

func TestSweepsTakeATenthOfTheTime(t *testing.T) {
	t.Parallel()
	for _, one := range []struct{ took, rest time.Duration }{
		{0, 5 * time.Second},
		{200 * time.Millisecond, 4800 * time.Millisecond},
		{500 * time.Millisecond, 4500 * time.Millisecond},
		{time.Second, 9 * time.Second},
		{time.Minute, longestRest},
	} {
		if rest := restAfter(one.took, 5*time.Second); rest != one.rest {
			t.Errorf("after %s there is a rest of %s, want %s", one.took, rest, one.rest)
		}
	}
}
