package poll

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/metrics"
)

// stillProcessing answers every question after a while, without a network, so
// that time can be a fake.
type stillProcessing time.Duration

func (s stillProcessing) RoundTrip(*http.Request) (*http.Response, error) {
	time.Sleep(time.Duration(s))
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(`{"code":0,"data":{"task_id":"t","task_status":"processing"}}`)),
	}, nil
}

// asked is one question of the poller.
type asked struct {
	task      int64
	due, when time.Time
}

// bench is a poller with a fake clock and no database: its tasks never change,
// so that nothing is written.
type bench struct {
	*Relays
	stop func()
	over chan struct{} // closed by stop
	jobs sync.WaitGroup

	mu    sync.Mutex
	asked []asked
}

// newBench starts a poller; it must be called in a synctest bubble.
func newBench(t testing.TB, interval time.Duration, rate float64, latency time.Duration) *bench {
	t.Helper()
	return newBenchAt(t, interval, rate, stillProcessing(latency), "")
}

// newBenchAt is newBench with another relay, and the form of its paths.
func newBenchAt(t testing.TB, interval time.Duration, rate float64, transport http.RoundTripper, path string) *bench {
	t.Helper()
	relay, err := klingapi.New(klingapi.Config{BaseURL: "http://relay.example", TaskPath: path, Credential: klingapi.StaticKey("k"), Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{over: make(chan struct{})}
	b.Relays = NewRelays(context.Background(), Config{
		Metrics: &metrics.New().Polling, Log: slog.New(slog.DiscardHandler), Interval: interval,
		TestHook: func(task int64, due, begun time.Time) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.asked = append(b.asked, asked{task, due, begun})
		},
	})
	b.Set([]Spec{{Name: db.DefaultRelay, Client: relay, Rate: rate, BatchSize: 20, Slots: 10_000}})
	b.EmptyBurst()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { b.Run(ctx) })
	b.stop = func() { close(b.over); cancel(); wg.Wait(); b.jobs.Wait() }
	return b
}

// onePoller is the lane of one relay, which is not run.
func onePoller(t testing.TB, interval time.Duration) (*Poller, *relay) {
	t.Helper()
	client, err := klingapi.New(klingapi.Config{BaseURL: "http://relay.example", Credential: klingapi.StaticKey("k")})
	if err != nil {
		t.Fatal(err)
	}
	relays := NewRelays(context.Background(), Config{Metrics: &metrics.New().Polling, Log: slog.New(slog.DiscardHandler), Interval: interval})
	relays.Set([]Spec{{Name: db.DefaultRelay, Client: client, Rate: 1, BatchSize: 20, Slots: 10_000}})
	at := relays.byName[db.DefaultRelay]
	return at.poller, at
}

// processing is a task that the relay has called processing already.
func processing(id int64) db.PollTarget {
	return db.PollTarget{ID: id, Relay: db.DefaultRelay, TaskID: fmt.Sprint(id), Action: "videos", Action2: "text2video", Status: db.Processing, UpstreamStatus: "processing", Age: time.Minute, Left: 1000 * time.Hour, Polls: 1}
}

// Watch takes a task in that was read just now.
func (r *Relays) Watch(task db.PollTarget, m Memory) *Watched {
	w := NewWatched(task, m)
	r.Admit(w)
	return w
}

// keep has a task asked for as long as the bench runs: as River does, it brings
// back a task that left for a while.
func (b *bench) keep(task db.PollTarget, m Memory) {
	b.jobs.Go(func() {
		for {
			var d *Departure
			select {
			case d = <-b.Watch(task, m).Done():
			case <-b.over:
				return
			}
			if d.Ended {
				return
			}
			m = d.Memory
			select {
			case <-time.After(d.Snooze):
			case <-b.over:
				return
			}
		}
	})
}

// busiest is the largest number of questions in any window of one second.
func busiest(times []time.Time) int {
	slices.SortFunc(times, time.Time.Compare)
	most, from := 0, 0
	for to := range times {
		for times[to].Sub(times[from]) >= time.Second {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

func (b *bench) times() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	times := make([]time.Time, len(b.asked))
	for i, a := range b.asked {
		times[i] = a.when
	}
	return times
}

func TestPollsAreOnTimeAndJittered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 5*time.Second, 1e5, 100*time.Millisecond)
		const tasks = 500 // 10 on their way at once: the pool need not grow
		for id := range int64(tasks) {
			b.Watch(processing(id), Memory{})
		}
		time.Sleep(time.Minute)
		b.stop()
		last := map[int64]time.Time{}
		gaps := map[time.Duration]bool{}
		for _, a := range b.asked {
			if late := a.when.Sub(a.due); late < 0 || late > time.Millisecond {
				t.Fatalf("task %d was asked %s after it was due", a.task, late)
			}
			if before, again := last[a.task]; again {
				gap := a.when.Sub(before) - 100*time.Millisecond
				if gap < 4500*time.Millisecond || gap > 5501*time.Millisecond {
					t.Fatalf("task %d was asked again after %s", a.task, gap)
				}
				gaps[gap.Round(time.Millisecond)] = true
			}
			last[a.task] = a.when
		}
		if len(last) != tasks || len(gaps) < 300 {
			t.Errorf("%d of %d tasks asked, %d different waits", len(last), tasks, len(gaps))
		}
	})
}

// No window of one second sees more than the rate and a tenth of it, whatever
// is overdue; and no task waits longer than twice its fair share.
func TestTheRateHoldsAndNobodyStarves(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tasks := rapid.IntRange(1, 400).Draw(rt, "tasks")
		rate := rapid.Float64Range(5, 200).Draw(rt, "rate")
		latency := time.Duration(rapid.IntRange(0, 500).Draw(rt, "latency")) * time.Millisecond
		var problem string
		synctest.Test(t, func(t *testing.T) { problem = flood(t, tasks, rate, latency) })
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// flood has all tasks overdue at once and tells what is wrong with how they are
// asked over four laps.
func flood(t *testing.T, tasks int, rate float64, latency time.Duration) string {
	b := newBench(t, time.Second, rate, latency)
	for id := range int64(tasks) {
		b.keep(processing(id), Memory{Next: time.Now().Add(-time.Hour)})
	}
	share := max(time.Duration(float64(tasks)/rate*float64(time.Second)), 1100*time.Millisecond+latency)
	time.Sleep(4*share + 2*time.Second)
	end := time.Now()
	b.stop()
	if most := busiest(b.times()); float64(most) > rate*1.1+1 {
		return fmt.Sprintf("%d questions in a second at a rate of %.0f", most, rate)
	}
	last := map[int64]time.Time{}
	for _, a := range b.asked {
		if gap := a.when.Sub(last[a.task]); !last[a.task].IsZero() && gap > 2*share {
			return fmt.Sprintf("task %d waited %s, a fair share is %s", a.task, gap, share)
		}
		last[a.task] = a.when
	}
	for id := range int64(tasks) {
		if gap := end.Sub(last[id]); gap > 2*share {
			return fmt.Sprintf("task %d was not asked for %s, a fair share is %s; %d questions", id, gap, share, len(b.asked))
		}
	}
	return ""
}

func TestATaskThatComesInBetweenIsAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, time.Minute, 100, 0)
		b.Watch(processing(1), Memory{})
		time.Sleep(10 * time.Second)
		begun := time.Now()
		b.Watch(processing(2), Memory{Next: begun})
		time.Sleep(time.Second)
		b.stop()
		for _, a := range b.asked {
			if a.task == 2 && a.when.Sub(begun) < 20*time.Millisecond {
				return
			}
		}
		t.Errorf("%+v", b.asked)
	})
}

func TestATaskLeavesWhenItIsToBeReadAgainOrTheProcessStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 10*time.Second, 100, 5*time.Second)
		one, two := b.Watch(processing(1), Memory{}), b.Watch(processing(2), Memory{})
		twice := b.Watch(processing(1), Memory{})
		snoozed := func(w *Watched) time.Duration {
			t.Helper()
			d := <-w.Done()
			if d.Ended || d.Err != nil {
				t.Fatalf("%+v", d)
			}
			return d.Snooze
		}
		if snoozed(twice) != fetchAhead {
			t.Error("a second job of a task that is here stays")
		}
		time.Sleep(3 * time.Second) // both are being asked
		b.Reread(2, 0)              // its row is as it was
		b.Reread(1, 1)
		if snoozed(one) != 0 { // after its answer
			t.Error("not sent back at once")
		}
		b.Drain()
		if snoozed(two) != 0 {
			t.Error("not sent back at the stop")
		}
		if snoozed(b.Watch(processing(3), Memory{})) == 0 {
			t.Error("a task came in while draining")
		}
		b.stop()
	})
}

func TestManyTasksShareFewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, time.Second, 1e6, 10*time.Second)
		for id := range int64(3 * maxAsking) {
			b.Watch(processing(id), Memory{Next: time.Now()})
		}
		time.Sleep(5 * time.Second)
		if on := len(b.times()); on != maxAsking {
			t.Errorf("%d questions on their way, want %d", on, maxAsking)
		}
		time.Sleep(26 * time.Second)
		if on := len(b.times()); on < 3*maxAsking {
			t.Errorf("%d questions after three rounds", on)
		}
		b.stop()
	})
}

// A job is cut off (hard stop, "cancel" in River's UI) while its poll is being
// written. It is the race detector that finds what is wrong.
func TestATaskIsAbandonedWhileItsPollIsWritten(t *testing.T) {
	t.Parallel()
	p, at := onePoller(t, time.Second)
	for id := range int64(200) {
		w := NewWatched(processing(id), Memory{})
		p.admit(at, w)
		p.mu.Lock()
		p.waiting.remove(w) // as takeDue does
		p.mu.Unlock()
		var wg sync.WaitGroup
		wg.Go(func() { p.abandon(w) })
		wg.Go(func() {
			p.goOn(w, verdict{status: db.Processing, outcome: unchanged, memory: Memory{Polls: 3}}, nil, writing{})
		})
		wg.Wait()
		p.abandon(w)
		if d := <-w.Done(); d.Ended || d.Err != nil {
			t.Fatalf("%+v", d)
		}
	}
	if p.residents.Load() != 0 || p.waiting.Len() != 0 || p.deadlines.Len() != 0 {
		t.Errorf("%d residents, %d wait, %d deadlines", p.residents.Load(), p.waiting.Len(), p.deadlines.Len())
	}
}

// Both heaps hold what they should through any order of comings and goings.
func TestTheHeapsHoldTheTasksThatAreHere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, at := onePoller(t, time.Hour)
		here, inHand := map[int64]*Watched{}, map[int64]*Watched{}
		rt.Repeat(map[string]func(*rapid.T){
			"watch": func(rt *rapid.T) {
				task := processing(rapid.Int64Range(1, 20).Draw(rt, "id"))
				if rapid.Bool().Draw(rt, "expired") {
					task.Status = db.Expired
				}
				w := NewWatched(task, Memory{Next: time.Now().Add(time.Duration(rapid.IntRange(-100, 100).Draw(rt, "due")) * time.Second)})
				p.admit(at, w)
				if here[task.ID] == nil {
					here[task.ID] = w
				}
			},
			"take": func(*rapid.T) {
				if w := p.takeDue(false); w != nil {
					inHand[w.task.ID] = w
				}
			},
			"put back": func(*rapid.T) {
				for id, w := range inHand {
					p.putBack(w)
					delete(inHand, id)
					if w.stale {
						delete(here, id)
					}
					return
				}
			},
			"reread": func(rt *rapid.T) {
				id := rapid.Int64Range(1, 20).Draw(rt, "id")
				version := rapid.IntRange(0, 1).Draw(rt, "version")
				p.reread(id, version)
				if version > 0 && inHand[id] == nil {
					delete(here, id)
				}
			},
			"abandon": func(rt *rapid.T) {
				id := rapid.Int64Range(1, 20).Draw(rt, "id")
				if w := here[id]; w != nil {
					p.abandon(w)
					delete(here, id)
					delete(inHand, id)
				}
			},
			"": func(rt *rapid.T) {
				if int(p.residents.Load()) != len(here) || p.waiting.Len() != len(here)-len(inHand) {
					rt.Fatalf("%d residents and %d wait, want %d and %d", int(p.residents.Load()), p.waiting.Len(), len(here), len(here)-len(inHand))
				}
				for _, h := range []*timeHeap{&p.waiting, &p.deadlines} {
					for i, w := range h.list {
						if *h.place(w.Watched) != i || i > 0 && h.Less(i, (i-1)/2) {
							rt.Fatalf("task %d is out of place", w.task.ID)
						}
					}
				}
				for _, w := range p.deadlines.list {
					if here[w.task.ID] != w.Watched || db.Terminal(w.task.Status) {
						rt.Fatalf("a deadline of task %d, which is not here or has ended", w.task.ID)
					}
				}
			},
		})
	})
}

// A rate that is raised holds at once, however low it was.
func TestARaisedRateHoldsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, time.Second, 0.001, 10*time.Millisecond)
		b.keep(processing(1), Memory{})
		time.Sleep(3 * time.Second)
		before := len(b.times())
		b.Set([]Spec{{Name: db.DefaultRelay, Version: 1, Client: b.byName[db.DefaultRelay].Client, Rate: 1000, BatchSize: 20, Slots: 100}})
		time.Sleep(3 * time.Second)
		if n := len(b.times()) - before; n < 1 {
			t.Error("nothing was asked in 3 s")
		}
		b.stop()
	})
}
