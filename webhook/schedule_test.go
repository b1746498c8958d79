package webhook_test

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/webhook"
)

func TestTheScheduleIsTheSpecsWithJitter(t *testing.T) {
	t.Parallel()
	want := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
	for i, middle := range want {
		for _, random := range []float64{0, 0.5, 0.999} {
			wait, again := webhook.NextAttempt(i+1, 0, random)
			if !again || wait < middle*9/10 || wait > middle*11/10 {
				t.Errorf("after attempt %d: %s, %v; want about %s", i+1, wait, again, middle)
			}
		}
	}
	if _, again := webhook.NextAttempt(webhook.MaxAttempts, time.Hour, 0); again {
		t.Error("the last attempt is followed by another")
	}
	if wait, _ := webhook.NextAttempt(1, 2*time.Minute, 0.5); wait != 2*time.Minute {
		t.Errorf("Retry-After of two minutes: %s", wait)
	}
}
