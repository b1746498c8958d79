package worker

import (
	"strings"
	"testing"
	"time"
)

// However many notes come, a queue is woken at a bounded rate, and none is forgotten.
func TestManyNotesWakeAQueueNowAndThen(t *testing.T) {
	t.Parallel()
	heard := newWakeUps()
	heard.hear([]string{"poll-0", "poll-1"})
	start := time.Now()
	woken := map[string]int{}
	for at := start; at.Before(start.Add(time.Second)); at = at.Add(time.Millisecond) {
		for _, queue := range []string{"poll-0", deliverQueue, "elsewhere", ""} {
			heard.say(queue)
		}
		for queue, _ := heard.next(at); queue != ""; queue, _ = heard.next(at) {
			woken[queue]++
		}
	}
	most := wakeBurst + int(time.Second/wakePace)
	for _, queue := range []string{"poll-0", deliverQueue} {
		if n := woken[queue]; n > most || n < most-1 {
			t.Errorf("%s was woken %d times, want %d", queue, n, most)
		}
	}
	if len(woken) != 2 {
		t.Errorf("woken: %v", woken)
	}
	if queue, wait := heard.next(start.Add(time.Second)); queue == "" && wait > wakePace {
		t.Errorf("what was said last is heard in %s", wait)
	}
	for range 2 { // what is said once more is heard in time
		heard.next(start.Add(2 * time.Second))
	}
	if queue, wait := heard.next(start.Add(2 * time.Second)); queue != "" || wait != 0 {
		t.Errorf("nothing is left, but %q is woken in %s", queue, wait)
	}
}

func TestAQueueThatIsLeftIsNotHeard(t *testing.T) {
	t.Parallel()
	heard := newWakeUps()
	heard.hear([]string{"relay-7-0"})
	if !heard.say("relay-7-0") || heard.say("relay-7-0") || !heard.say(redeliverQueue) {
		t.Error("only what is said first is news")
	}
	heard.hear(nil)
	if queue, _ := heard.next(time.Now()); queue != redeliverQueue {
		t.Errorf("woken: %q", queue)
	}
	if queue, _ := heard.next(time.Now()); queue != "" || heard.say("relay-7-0") {
		t.Errorf("woken: %q", queue)
	}
}

func TestNotesNameAQueueOrNothing(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{
		`{"queue":"poll-1"}`:           "poll-1",
		`{"queue" : "poll-1", "n": 7}`: "poll-1",
		`{"queue":7}`:                  "",
		`{"queue":`:                    "",
		`null`:                         "",
		``:                             "",
		`[]`:                           "",
		`{"queue":"poll-1","x":"` + strings.Repeat("x", 200) + `"}`: "",
	} {
		if got := queueIn(payload); got != want {
			t.Errorf("%q names %q, want %q", payload, got, want)
		}
	}
}
