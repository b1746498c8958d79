package poll

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// asksOf are the times of the questions about a task, from a moment on.
func (b *bench) asksOf(task int64, from time.Time) (times []time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.asked {
		if a.task == task && !a.when.Before(from) {
			times = append(times, a.when.Sub(from))
		}
	}
	return times
}

func TestACallbackHasATaskAskedAboutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 20*time.Second, 100, 0)
		b.Watch(processing(1), Memory{})
		b.Watch(processing(2), Memory{})
		time.Sleep(10 * time.Second)
		called := time.Now()
		b.Call(1)
		b.Call(99) // elsewhere
		time.Sleep(time.Second)
		b.stop()
		if asks := b.asksOf(1, called); len(asks) != 1 || asks[0] > 20*time.Millisecond {
			t.Errorf("asked after %s", asks)
		}
		if asks := b.asksOf(2, called); len(asks) != 0 {
			t.Errorf("another task was asked about after %s", asks)
		}
	})
}

func TestACallbackDuringAPollHasItRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 20*time.Second, 100, time.Second)
		b.Watch(processing(1), Memory{Next: time.Now()})
		time.Sleep(500 * time.Millisecond) // the answer was written before the task changed, perhaps
		called := time.Now()
		b.Call(1)
		time.Sleep(100 * time.Millisecond)
		b.Call(1) // once more: that puts nothing off
		time.Sleep(5 * time.Second)
		b.stop()
		if asks := b.asksOf(1, called); len(asks) != 1 || asks[0] > 520*time.Millisecond {
			t.Errorf("asked again after %s", asks)
		}
	})
}

// Whatever is called, when and how often: a task is asked about once more per interval at
// most, and once at least within an interval after the last call.
func TestForgedCallbacksCostOnePollInAnInterval(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		calls := rapid.SliceOfN(rapid.IntRange(0, 3000), 1, 60).Draw(rt, "calls")
		latency := time.Duration(rapid.IntRange(0, 900).Draw(rt, "latency")) * time.Millisecond
		var problem string
		synctest.Test(t, func(*testing.T) {
			const interval = 5 * time.Second
			b := newBench(t, interval, 1000, latency)
			b.Watch(processing(1), Memory{Next: time.Now()})
			begun := time.Now()
			var last time.Duration
			for _, pause := range calls {
				time.Sleep(time.Duration(pause) * time.Millisecond)
				last = time.Since(begun)
				b.Call(1)
			}
			time.Sleep(interval + 2*time.Second)
			passed := time.Since(begun)
			b.stop()
			asks := b.asksOf(1, begun)
			usual := int(passed/(interval*9/10)) + 1
			extra := int(passed/interval) + 1
			if len(asks) > usual+extra {
				problem = fmt.Sprintf("asked %d times in %s", len(asks), passed)
			}
			for _, at := range asks {
				if at >= last && at <= last+interval+latency+20*time.Millisecond {
					return
				}
			}
			problem = "nobody asked after the last call"
		})
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// A callback during a poll gets a turn of its own. Where the task's usual poll comes before
// that, the turn is used up: callbacks after that poll get the next one.
func TestAUsualPollTakesTheTurnOfACallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval, latency = 5 * time.Second, 20 * time.Millisecond
		const tasks = 60 // of which jitter has every tenth or so meet the case
		b := newBench(t, interval, 1_000_000, latency)
		for id := range int64(tasks) {
			b.Watch(processing(id), Memory{Next: time.Now()})
		}
		for range 2 { // during the first poll, which is repeated, and during that
			time.Sleep(latency / 2)
			for id := range int64(tasks) {
				b.Call(id)
			}
			time.Sleep(latency / 2)
		}
		time.Sleep(interval - 50*time.Millisecond)
		last := time.Now()
		for id := range int64(tasks) {
			b.Call(id)
		}
		time.Sleep(2 * interval)
		b.stop()
		for id := range int64(tasks) {
			if asks := b.asksOf(id, last); len(asks) == 0 || asks[0] > interval+2*latency {
				t.Errorf("task %d was asked about %s after the last callback", id, asks)
			}
		}
	})
}

func TestACallbackDoesNotHastenATaskThatBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 5*time.Second, 100, 0)
		b.Watch(processing(1), Memory{Trouble: 1, Next: time.Now().Add(fetchAhead)})
		w := b.Watch(processing(2), Memory{Trouble: 1, Next: time.Now().Add(fetchAhead)})
		w.relay.poller.mu.Lock()
		w.due = w.due.Add(30 * time.Second) // Retry-After
		w.relay.poller.waiting.remove(w)
		w.relay.poller.wait(w)
		w.relay.poller.mu.Unlock()
		b.Call(2)
		time.Sleep(10 * time.Second)
		b.stop()
		if asks := b.asksOf(2, time.Time{}); len(asks) != 0 || len(b.asksOf(1, time.Time{})) == 0 {
			t.Errorf("asked after %s", asks)
		}
	})
}

func TestACallbackNeverOvertakesTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 10*time.Minute, 10, 0)
		const tasks = 100
		for id := range int64(tasks) {
			b.Watch(processing(id), Memory{Next: time.Now().Add(time.Minute)})
		}
		for id := range int64(tasks) {
			b.Call(id)
		}
		time.Sleep(20 * time.Second)
		b.stop()
		if most := busiest(b.times()); most > 11 || len(b.asked) < tasks {
			t.Errorf("%d questions in a second at a rate of 10, %d in all", most, len(b.asked))
		}
	})
}

func TestACallbackThatWokeAJobIsHeededOnce(t *testing.T) {
	now := time.Now()
	woken := now.Add(-time.Minute) // by the database's clock
	for _, test := range []struct {
		name string
		m    Memory
		want time.Duration // from now
	}{
		{"woken from a long sleep", Memory{Next: now.Add(time.Hour), Woken: woken}, 0},
		{"just before its time", Memory{Next: now.Add(1500 * time.Millisecond), Woken: woken}, 0},
		{"seen already: fetched a little early", Memory{Next: now.Add(1500 * time.Millisecond), Woken: woken, Seen: woken}, 1500 * time.Millisecond},
		{"asked about because of a callback two seconds ago", Memory{Next: now.Add(time.Hour), Woken: woken, Called: now.Add(-2 * time.Second)}, 3 * time.Second},
		{"in trouble", Memory{Next: now.Add(time.Minute), Woken: woken, Trouble: 3}, time.Minute},
		{"a file is missing", Memory{Next: now.Add(time.Minute), Woken: woken, WithoutFile: 1}, time.Minute},
		{"asked again by a person", Memory{Next: now.Add(time.Hour), Woken: woken, Seen: woken}, 0},
	} {
		task := processing(1)
		w := &Watched{task: task, memory: test.m}
		w.due = w.firstDue(5*time.Second, now, 0.5)
		w.heedWaking(5*time.Second, now)
		if got := w.due.Sub(now); got != test.want {
			t.Errorf("%s: due in %s, want %s", test.name, got, test.want)
		}
		if !w.seen.Equal(test.m.Woken) {
			t.Errorf("%s: it would be heeded again", test.name)
		}
	}
}

func TestTheTurnsOfCallbacks(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name   string
		called time.Duration // from now
		want   time.Duration
		news   bool
	}{
		{"the first", -time.Hour, 0, true},
		{"two seconds after another", -2 * time.Second, 3 * time.Second, true},
		{"after one that waits for its turn", 3 * time.Second, 3 * time.Second, false},
		{"after a clock went back", time.Hour, 0, true},
	} {
		turn, news := calledTurn(now.Add(test.called), now, 5*time.Second)
		if turn.Sub(now) != test.want || news != test.news {
			t.Errorf("%s: %s, %v", test.name, turn.Sub(now), news)
		}
	}
	if turn, news := calledTurn(time.Time{}, now, 5*time.Second); !turn.Equal(now) || !news {
		t.Errorf("without one before: %s, %v", turn, news)
	}
}
