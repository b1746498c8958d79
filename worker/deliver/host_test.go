package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// manner is how a path answers: a connection after connect, then its reply.
type manner struct {
	connect time.Duration // 0: none is made
	reply   reply
}

const (
	near    = time.Millisecond
	timeout = 20 * time.Second
)

// The manners of paths on a host that is near.
var (
	healthy    = manner{near, reply{answer: answerGood, took: 5 * near, firstByte: 5 * near}}
	erring     = manner{near, reply{answer: answerBad, took: near}}
	silent     = manner{near, reply{answer: answerBad, took: timeout}}
	breaking   = manner{near, reply{answer: answerBad, took: 10 * near}}
	throttling = manner{near, reply{answer: answerBad, took: near, slowDown: time.Minute}}
	refusing   = manner{near, reply{answer: answerNeutral, took: near}}
	dripping   = manner{near, reply{answer: answerGood, took: 2 * time.Second, firstByte: near}}
	unreached  = manner{0, reply{answer: answerUnreached, took: near}}
)

// from makes a manner that of a host so far away: TCP and TLS take three ways there
// and back, the answer one.
func (m manner) from(there time.Duration) manner {
	return manner{m.connect + 3*there, reply{m.reply.answer, m.reply.took + there, m.reply.firstByte + there, m.reply.slowDown}}
}

const townHost = "https://automation.example"

// town is a host with many paths, and what it sees.
type town struct {
	t     *testing.T
	ctx   context.Context
	rs    *receivers
	paths uint64
	under int             // requests on their way
	peak  int             // most of them at once
	asked []time.Duration // when requests began, since the town did
	begun time.Time
}

// visit lets something happen in a new town, within a bubble of synctest.
func visit(t *testing.T, happen func(t *testing.T, w *town)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		happen(t, &town{t: t, ctx: ctx, rs: newReceivers(), begun: time.Now()})
		cancel()
		time.Sleep(time.Hour) // until all have gone home
	})
}

// build adds a path, and n deliveries to it that come after those to the paths before.
func (w *town) build(m manner, n int, arrived chan<- time.Duration) {
	w.paths++
	at := place{townHost, w.paths}
	for range n {
		go func() {
			time.Sleep(time.Duration(at.key) * time.Microsecond)
			w.deliver(at, m, arrived)
		}()
	}
}

// deliver does with a delivery as its job does, with up to three attempts. It tells
// how long one took that has arrived.
func (w *town) deliver(at place, m manner, arrived chan<- time.Duration) {
	begun := time.Now()
	for failures := 0; failures < 3 && w.ctx.Err() == nil; {
		p, err := w.rs.acquire(w.ctx, at)
		if held, ok := errors.AsType[heldError](err); ok {
			time.Sleep(held.wait)
			continue
		}
		if err != nil {
			return
		}
		w.request(p, m)
		if m.reply.answer == answerGood {
			arrived <- time.Since(begun)
			return
		}
		failures++
		time.Sleep(5 * time.Second)
	}
}

// request is one request, from its pass to its reply.
func (w *town) request(p *pass, m manner) {
	w.see(1)
	defer w.rs.release(p, m.reply)
	defer w.see(-1)
	time.Sleep(m.connect)
	if m.connect > 0 {
		w.rs.connected(p)
	}
	time.Sleep(m.reply.took)
}

// once makes one request to the newest path, as soon as its host lets it.
func (w *town) once(m manner) {
	p, err := w.rs.acquire(w.ctx, place{townHost, w.paths})
	if err != nil {
		w.t.Fatal(err)
	}
	w.request(p, m)
}

func (w *town) see(n int) {
	w.rs.mu.Lock()
	defer w.rs.mu.Unlock()
	if w.under += n; n > 0 {
		w.asked = append(w.asked, time.Since(w.begun))
	}
	w.peak = max(w.peak, w.under)
}

// now counts the requests on their way.
func (w *town) now() int {
	w.rs.mu.Lock()
	defer w.rs.mu.Unlock()
	return w.under
}

// most is how many were on their way at once since it was asked last.
func (w *town) most() int {
	w.rs.mu.Lock()
	defer w.rs.mu.Unlock()
	peak := w.peak
	w.peak = w.under
	return peak
}

// between counts the requests of a time.
func (w *town) between(from, to time.Duration) int {
	w.rs.mu.Lock()
	defer w.rs.mu.Unlock()
	first, _ := slices.BinarySearch(w.asked, from)
	end, _ := slices.BinarySearch(w.asked, to)
	return end - first
}

// inTurns spreads some among more.
func inTurns(more, some []manner) (all []manner) {
	part := (len(more) + len(some) - 1) / len(some)
	for i, few := range slices.Collect(slices.Chunk(more, part)) {
		all = append(append(all, few...), some[i])
	}
	return append(all, some[len(all)-len(more):]...)
}

// Healthy paths get through whatever the others of their host do, and whoever comes
// first: nobody can know who is healthy before it has answered.
func TestHealthyPathsGetThroughBesideBadOnesOfTheirHost(t *testing.T) {
	t.Parallel()
	const wanted = 5 * time.Second
	good := slices.Repeat([]manner{healthy}, 40)
	of := func(n int, mix ...manner) []manner { return slices.Repeat(mix, n/len(mix)) }
	for name, bad := range map[string][]manner{
		"24 in trouble":   of(24, erring, silent, breaking),
		"1,000 failing":   of(1000, erring),
		"1,000 silent":    of(1000, silent),
		"1,000 throttled": of(1000, throttling),
		"1,000 refusing":  of(1000, refusing),
		"1,000 dripping":  of(1000, dripping),
		"1,000 mixed":     of(1000, erring, silent, breaking, throttling, refusing, dripping),
	} {
		for order, all := range map[string][]manner{
			"bad ones first":  slices.Concat(bad, good),
			"good ones first": slices.Concat(good, bad),
			"in turns":        inTurns(bad, good),
		} {
			for _, distance := range []time.Duration{0, 100 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s, %s, %s away", name, order, distance), func(t *testing.T) {
					t.Parallel()
					visit(t, func(t *testing.T, w *town) {
						arrived, others := make(chan time.Duration, len(good)), make(chan time.Duration, 3*len(bad))
						for _, m := range all {
							if m == healthy {
								w.build(m.from(distance), 1, arrived)
							} else {
								w.build(m.from(distance), 3, others)
							}
						}
						var slowest time.Duration
						for range good {
							slowest = max(slowest, <-arrived)
						}
						if t.Logf("the slowest took %s", slowest); slowest > wanted {
							t.Error("that is too long")
						}
					})
				})
			}
		}
	}
}

// Nor do those that come later wait for the second and third attempts of the bad
// ones, even where they have failed once themselves.
func TestHealthyPathsThatComeLateGetThrough(t *testing.T) {
	t.Parallel()
	const wanted, each = 5 * time.Second, 40
	all := []manner{erring, silent, breaking, throttling, refusing, dripping}
	for _, after := range []time.Duration{time.Second, 6 * time.Second, 12 * time.Second, 30 * time.Second, 2 * time.Minute} {
		for name, mix := range map[string][]manner{"failing": {erring}, "silent": {silent}, "of all kinds": all} {
			t.Run(fmt.Sprintf("%s after 1,000 %s", after, name), func(t *testing.T) {
				t.Parallel()
				visit(t, func(t *testing.T, w *town) {
					known := w.paths
					for range each {
						w.paths++
						w.once(healthy)
						w.once(erring)
					}
					others := make(chan time.Duration, 3000)
					for i := range 1000 {
						w.build(mix[i%len(mix)], 3, others)
					}
					time.Sleep(after)
					arrived := make(chan time.Duration, 2*each)
					for range each {
						w.build(healthy, 1, arrived)
					}
					for w.paths = known; w.paths < known+each; { // those that have failed
						w.build(healthy, 1, arrived)
					}
					var slowest time.Duration
					for range cap(arrived) {
						slowest = max(slowest, <-arrived)
					}
					if t.Logf("the slowest took %s", slowest); slowest > wanted {
						t.Error("that is too long")
					}
				})
			})
		}
	}
}

// That each of its URLs has a breaker of its own does not let us hammer a host where
// all fail; and who comes to it and is healthy is found all the same.
func TestAHostWhereEveryPathFailsIsAskedGently(t *testing.T) {
	t.Parallel()
	const paths = 3000
	for name, c := range map[string]struct {
		bad         manner
		first, rest int // requests at once
	}{
		"failing":   {erring, maxShare, gentleShare + 1},
		"throttled": {throttling, maxShare, gentleShare + 1},
		"silent":    {silent, maxLateHost + maxShare, int(timeout/gentleCost) + gentleShare},
		"unreached": {unreached, firstShare, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			visit(t, func(t *testing.T, w *town) {
				for range paths {
					w.build(c.bad, 1, nil)
				}
				time.Sleep(2 * time.Minute)
				if n := w.between(0, time.Minute); n > 2*patience+int(time.Minute/gentleCost) {
					t.Errorf("%d requests in the first minute", n)
				}
				if peak := w.most(); peak > c.first {
					t.Errorf("%d requests at once in the first minute", peak)
				}
				time.Sleep(time.Minute)
				n, peak := w.between(2*time.Minute, 3*time.Minute), w.most()
				if n > int(time.Minute/gentleCost)+gentleShare || peak > c.rest {
					t.Errorf("%d requests in the third minute, %d at once", n, peak)
				}
				t.Logf("%d requests in the first minute, %d in the third, %d at once", w.between(0, time.Minute), n, peak)
				if c.bad == unreached {
					return
				}
				time.Sleep(time.Minute) // all have been tried
				arrived := make(chan time.Duration, 40)
				for range cap(arrived) {
					w.build(healthy, 1, arrived)
				}
				for range cap(arrived) {
					if took := <-arrived; took > 5*time.Second {
						t.Errorf("it took %s beside them", took)
					}
				}
			})
		})
	}
}

// The host is to blame for what happens before a connection, over all its paths.
func TestAHostThatCannotBeReachedIsProbedByOneRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		path := func(key uint64) place { return place{"a", key} }
		enter := func(key uint64) (*pass, bool) {
			p, err := rs.acquire(t.Context(), path(key))
			return p, err == nil
		}
		var changed bool
		for key := range uint64(breakAfter) {
			p, _ := enter(key)
			changed = rs.release(p, unreached.reply)
		}
		if _, ok := enter(99); ok || !changed {
			t.Errorf("another path may be asked: %v; the breaker opened: %v", ok, changed)
		}
		if open, _ := rs.survey(); open != 1 {
			t.Errorf("%d breakers are open", open)
		}
		time.Sleep(openFor * 12 / 10)
		cut, _ := enter(97)
		rs.cancel(cut) // a stop cut it off: another one probes
		probe, ok := enter(99)
		if _, second := enter(98); !ok || second {
			t.Errorf("it is probed: %v, twice at once: %v", ok, second)
		}
		if !rs.connected(probe) {
			t.Error("a connection does not close the breaker")
		}
		if _, ok := enter(98); !ok {
			t.Error("a host that can be reached again is held back while the probe waits for its answer")
		}
	})
}

func TestTheTroubleOfAURLIsNotThatOfItsHost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		for range breakAfter {
			time.Sleep(maxDebt)
			p, err := rs.acquire(t.Context(), place{"a", 1})
			if err != nil {
				t.Fatal(err)
			}
			rs.release(p, erring.reply)
		}
		p, err := rs.acquire(t.Context(), place{"a", 2})
		if err != nil {
			t.Fatal(err)
		}
		rs.release(p, throttling.reply)
		for key, held := range []bool{false, true, true, false} {
			p, err := rs.acquire(t.Context(), place{"a", uint64(key)})
			if (err != nil) != held {
				t.Errorf("path %d: %v", key, err)
			}
			if err == nil {
				rs.cancel(p)
			}
		}
	})
}

// Paths that worked, have many requests under way and fall silent, must not take
// the share of the others with them.
func TestPathsThatFallSilentDelayNoOther(t *testing.T) {
	t.Parallel()
	visit(t, func(t *testing.T, w *town) {
		arrived := make(chan time.Duration, 100_000)
		for range 24 {
			w.build(healthy, 100, arrived)
		}
		time.Sleep(time.Minute)
		w.paths = 0 // the same ones
		for range 24 {
			w.build(silent, 200, arrived)
		}
		time.Sleep(time.Second)
		begun := w.now()
		for len(arrived) > 0 {
			<-arrived
		}
		for range 40 {
			w.build(healthy, 10, arrived)
		}
		var slowest time.Duration
		for range 400 {
			slowest = max(slowest, <-arrived)
		}
		if slowest > time.Second || begun > 200 {
			t.Errorf("the slowest took %s beside %d silent requests", slowest, begun)
		}
	})
}

// A receiver that hangs for a moment, as when it collects garbage, costs what is on its
// way little more than that moment.
func TestAMomentOfSilenceCostsLittleMore(t *testing.T) {
	t.Parallel()
	for hang, wanted := range map[time.Duration]time.Duration{600 * time.Millisecond: time.Second, 2 * time.Second: 6 * time.Second} {
		visit(t, func(t *testing.T, w *town) {
			before := make(chan time.Duration, 1000+maxWindow)
			w.build(healthy, 1000, before)
			time.Sleep(time.Minute)
			hanging := manner{near, reply{answer: answerGood, took: hang, firstByte: hang}}
			for range maxWindow {
				go w.deliver(place{townHost, w.paths}, hanging, before)
			}
			arrived := make(chan time.Duration, 150)
			for range cap(arrived) {
				time.Sleep(3 * time.Millisecond)
				go w.deliver(place{townHost, w.paths}, healthy, arrived)
			}
			var slowest time.Duration
			for range cap(arrived) {
				slowest = max(slowest, <-arrived)
			}
			if slowest > wanted {
				t.Errorf("after it has hung for %s, the slowest takes %s", hang, slowest)
			}
		})
	}
}

// A URL that answers slowly, but well, with a backlog.
func TestASlowPathDelaysNoOther(t *testing.T) {
	t.Parallel()
	visit(t, func(t *testing.T, w *town) {
		slow := manner{near, reply{answer: answerGood, took: 10 * time.Second, firstByte: 10 * time.Second}}
		w.build(slow, 1000, make(chan time.Duration, 1000))
		time.Sleep(time.Minute)
		arrived := make(chan time.Duration, 400)
		for range 40 {
			w.build(healthy, 10, arrived)
		}
		for range cap(arrived) {
			if took := <-arrived; took > time.Second {
				t.Errorf("it took %s", took)
			}
		}
	})
}

// A host whose answers all take long is not asked for more and more.
func TestASlowHostGetsNoMoreThanItsShare(t *testing.T) {
	t.Parallel()
	visit(t, func(t *testing.T, w *town) {
		slow := manner{near, reply{answer: answerGood, took: time.Second, firstByte: time.Second}}
		for range 5000 {
			w.build(slow, 1, make(chan time.Duration, 1))
		}
		time.Sleep(5 * time.Second)
		w.most()
		time.Sleep(5 * time.Second)
		if peak := w.most(); peak > maxShare {
			t.Errorf("%d requests at once", peak)
		}
	})
}

// A URL that holds the number of a task is never seen again.
func TestOnlySoManyURLsAreRemembered(t *testing.T) {
	t.Parallel()
	rs := newReceivers()
	for i := range maxReceivers + 100 {
		for h := range maxRemembered/maxReceivers + 1 {
			p, err := rs.acquire(t.Context(), place{fmt.Sprint(h), uint64(i)})
			if err != nil {
				t.Fatal(err)
			}
			rs.release(p, healthy.reply)
		}
	}
	all := 0
	for _, h := range rs.hosts {
		all += len(h.receivers)
	}
	if n := len(rs.hosts["0"].receivers); n > maxReceivers || all > maxRemembered || all != rs.remembered {
		t.Errorf("%d are, %d of one host; counted %d", all, n, rs.remembered)
	}
	if rs.survey(); all != rs.remembered {
		t.Errorf("%d are, counted %d", all, rs.remembered)
	}
}
