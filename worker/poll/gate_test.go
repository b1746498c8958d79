package poll

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

func TestTheGateClosesOnARowOfFailuresAndProbesItsWayBack(t *testing.T) {
	t.Parallel()
	var g gate
	now := time.Unix(0, 0)
	outage := trouble(klingapi.Unavailable)
	task := int64(0)
	ask := func(answer error) (turned bool) {
		t.Helper()
		task++
		ticket, wait := g.admit(now)
		if wait > 0 {
			t.Fatalf("closed for %s", wait)
		}
		return g.report(ticket, task, answer, now)
	}

	for range gateFailures - 1 {
		ask(outage)
	}
	ask(nil) // a good answer in between: single tasks in trouble do not close it
	for i := range gateFailures {
		if turned := ask(outage); turned != (i == gateFailures-1) {
			t.Fatalf("failure %d: turned %v", i+1, turned)
		}
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if _, wait := g.admit(now); wait != want*time.Second {
			t.Fatalf("wait %s, want %ds", wait, want)
		}
		now = now.Add(want * time.Second)
		probe, wait := g.admit(now)
		if wait > 0 || !probe.probe {
			t.Fatalf("no probe after %ds", want)
		}
		if _, wait := g.admit(now); wait == 0 {
			t.Fatal("a second question beside the probe")
		}
		if g.report(ticket{}, 99, outage, now); !now.After(g.until) && g.until.Sub(now) > 0 {
			t.Fatal("an answer to a question of before moved the gate")
		}
		g.report(probe, 1, outage, now)
	}
	now = g.until
	probe, _ := g.admit(now)
	if !g.report(probe, 1, trouble(klingapi.NotFound), now) {
		t.Error("an answer about a task does not open the gate")
	}
	if _, wait := g.admit(now); wait != 0 {
		t.Errorf("still closed for %s", wait)
	}
}

func TestASingleTaskInTroubleDoesNotCloseTheGate(t *testing.T) {
	t.Parallel()
	var g gate
	now := time.Unix(0, 0)
	for range 100 {
		ticket, wait := g.admit(now)
		if wait > 0 {
			t.Fatal("closed")
		}
		g.report(ticket, 7, trouble(klingapi.Unavailable), now)
	}
}

func TestAProbeThatWasNotAskedIsGivenBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	g := gate{closings: 1, until: now}
	probe, _ := g.admit(now)
	g.cancel(probe)
	if again, wait := g.admit(now); wait > 0 || !again.probe {
		t.Errorf("%+v, %s", again, wait)
	}
}

func TestTheGateHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	var g gate
	now := time.Unix(0, 0)
	for task := range int64(gateFailures) {
		ticket, _ := g.admit(now)
		g.report(ticket, task, &klingapi.Error{Kind: klingapi.Throttled, RetryAfter: 90 * time.Second}, now)
	}
	if _, wait := g.admit(now); wait != 90*time.Second {
		t.Errorf("%s", wait)
	}
}

func TestOnlyTroubleOfTheRelayAsAWholeClosesTheGate(t *testing.T) {
	t.Parallel()
	for kind, want := range map[klingapi.ErrorKind]bool{
		klingapi.Unreachable: true, klingapi.Unavailable: true, klingapi.Throttled: true, klingapi.Unreadable: false, klingapi.Misconfigured: false,
		klingapi.TokenTime: true, klingapi.Refused: false, klingapi.NotFound: false, klingapi.Rejected: false,
	} {
		if relayInTrouble(trouble(kind)) != want {
			t.Errorf("%s", kind)
		}
	}
}

func TestLateChecksGrowAndEnd(t *testing.T) {
	t.Parallel()
	var ended time.Duration
	checks := 0
	for last := time.Duration(0); ; checks++ {
		wait, again := latePace(ended, 0.5)
		if !again {
			break
		}
		if (wait < last && ended+wait < LateChecks) || checks > 30 {
			t.Fatalf("check %d after %s, the one before after %s", checks, wait, last)
		}
		last, ended = wait, ended+wait
	}
	if checks < 8 || ended < LateChecks/2 {
		t.Errorf("%d checks over %s", checks, ended)
	}
}

// One answer must not stop all polling for an hour.
func TestTheGateObeysRetryAfterForAWhileOnly(t *testing.T) {
	t.Parallel()
	throttled := func(wait time.Duration) error { return &klingapi.Error{Kind: klingapi.Throttled, RetryAfter: wait} }
	for _, c := range []struct {
		name  string
		asked []time.Duration // by task
		want  time.Duration
	}{
		{"one asks for an hour", []time.Duration{0, 0, 0, 0, time.Hour}, gateFirst},
		{"all ask, one for less", []time.Duration{time.Hour, time.Hour, 30 * time.Second, time.Hour, time.Hour}, 30 * time.Second},
		{"all ask for an hour", []time.Duration{time.Hour, time.Hour, time.Hour, time.Hour, time.Hour}, gateObeys},
	} {
		var g gate
		now := time.Unix(0, 0)
		for task, asked := range c.asked {
			ticket, _ := g.admit(now)
			g.report(ticket, int64(task), throttled(asked), now)
		}
		if _, wait := g.admit(now); wait != c.want {
			t.Errorf("%s: closed for %s, want %s", c.name, wait, c.want)
		}
	}
	g := gate{closings: 1}
	probe, _ := g.admit(time.Unix(0, 0))
	g.report(probe, 1, throttled(time.Hour), time.Unix(0, 0))
	if _, wait := g.admit(time.Unix(0, 0)); wait != gateObeys {
		t.Errorf("after a probe: closed for %s, want %s", wait, gateObeys)
	}
}
