package webhooks

import (
	"testing"
	"time"
)

func TestLatencyCountsFromTheCommitsReturnUnlessTheWebhookWasQuicker(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	begun := time.Now()
	c := completion{committing: begun, committed: begun.Add(5 * ms)}
	for arrived, want := range map[time.Duration]time.Duration{9 * ms: 4 * ms, 3 * ms: 3 * ms} {
		if got := c.latency(begun.Add(arrived).UnixNano()); got != want {
			t.Errorf("an arrival %s after the commit was sent counts as %s, want %s", arrived, got, want)
		}
	}
}
