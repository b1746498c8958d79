package deliver

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// alone is a receiver that has a host of its own, as an endpoint has.
func alone(name string) place { return place{host: name} }

// enter takes a pass that must be there at once.
func mustEnter(t *testing.T, rs *receivers, place string) *pass {
	t.Helper()
	p, err := rs.acquire(t.Context(), alone(place))
	if err != nil {
		t.Fatalf("%s: %v", place, err)
	}
	return p
}

// heldFor returns how long a delivery must stay away; 0 when it may be sent.
func heldFor(t *testing.T, rs *receivers, place string) time.Duration {
	t.Helper()
	p, err := rs.acquire(t.Context(), alone(place))
	held, ok := errors.AsType[heldError](err)
	switch {
	case ok:
		return held.wait
	case err != nil:
		t.Fatal(err)
	}
	rs.cancel(p)
	return 0
}

// breakDown lets a receiver fail until its breaker opens.
func breakDown(t *testing.T, rs *receivers, place string) {
	t.Helper()
	for range breakAfter {
		rs.release(mustEnter(t, rs, place), reply{answer: answerBad, took: time.Millisecond})
	}
}

func TestAReceiverGetsMoreRequestsAtOnceAsItSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		atOnce := func() int {
			time.Sleep(maxDebt) // what failures cost is paid
			var passes []*pass
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
				p, err := rs.acquire(ctx, alone("a"))
				cancel()
				if err != nil {
					break
				}
				passes = append(passes, p)
			}
			for _, p := range passes {
				rs.release(p, reply{answer: answerGood, took: time.Millisecond})
			}
			return len(passes)
		}
		if n := atOnce(); n != 1 {
			t.Errorf("a new receiver gets %d at once", n)
		}
		if n := atOnce(); n != firstWindow {
			t.Errorf("after its first answer it gets %d at once", n)
		}
		for range 20 {
			atOnce()
		}
		if n := atOnce(); n != maxWindow {
			t.Errorf("a good receiver gets %d at once, want %d", n, maxWindow)
		}
		rs.release(mustEnter(t, rs, "a"), reply{answer: answerBad, took: time.Millisecond})
		if n := atOnce(); n != maxWindow/2 {
			t.Errorf("after a failure it gets %d at once, want %d", n, maxWindow/2)
		}
	})
}

func TestTheBreakerOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		breakDown(t, rs, "a")
		if wait := heldFor(t, rs, "a"); wait < openFor*8/10 {
			t.Errorf("held for %s after %d failures", wait, breakAfter)
		}
		if wait := heldFor(t, rs, "b"); wait != 0 {
			t.Errorf("another receiver is held for %s", wait)
		}
		last := openFor
		for range 8 { // every failed probe doubles the wait
			time.Sleep(last * 12 / 10)
			probe := mustEnter(t, rs, "a")
			if heldFor(t, rs, "a") == 0 {
				t.Fatal("two probes at once")
			}
			rs.release(probe, reply{answer: answerBad, took: time.Millisecond})
			last = min(2*last, maxOpen)
			if wait := heldFor(t, rs, "a"); wait < last*8/10 && wait < maxHold/2 {
				t.Errorf("held for %s, want about %s", wait, last)
			}
		}
		time.Sleep(maxOpen * 12 / 10)
		if !rs.release(mustEnter(t, rs, "a"), reply{answer: answerGood, took: time.Millisecond}) {
			t.Error("closing was not told")
		}
		if wait := heldFor(t, rs, "a"); wait != 0 {
			t.Errorf("a receiver that works again is held for %s", wait)
		}
	})
}

func TestAReceiverThatAsksToSlowDownIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		rs.release(mustEnter(t, rs, "a"), reply{answer: answerBad, took: time.Millisecond, slowDown: 2 * time.Minute})
		if wait := heldFor(t, rs, "a"); wait < 2*time.Minute {
			t.Errorf("held for %s", wait)
		}
		time.Sleep(2 * time.Minute)
		if wait := heldFor(t, rs, "a"); wait != 0 {
			t.Errorf("held for %s after that", wait)
		}
		rs.release(mustEnter(t, rs, "a"), reply{answer: answerBad, took: time.Millisecond, slowDown: 24 * time.Hour})
		time.Sleep(maxOpen)
		if wait := heldFor(t, rs, "a"); wait != 0 {
			t.Errorf("one delivery's day of Retry-After holds the others for %s more than %s", wait, maxOpen)
		}
	})
}

func TestAWaitingDeliveryIsSentAwayWhenTheBreakerOpens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		first := mustEnter(t, rs, "a")
		outcome := make(chan error, 10)
		for range cap(outcome) {
			go func() {
				p, err := rs.acquire(t.Context(), alone("a"))
				if err == nil {
					rs.release(p, reply{answer: answerBad, took: time.Second})
				}
				outcome <- err
			}()
		}
		synctest.Wait()
		rs.release(first, reply{answer: answerBad, took: time.Second})
		held := 0
		for range cap(outcome) {
			if _, ok := errors.AsType[heldError](<-outcome); ok {
				held++
			}
		}
		if held != cap(outcome)-breakAfter+1 {
			t.Errorf("%d of %d were held", held, cap(outcome))
		}
	})
}

// As many receivers as there are slots never answer: another one that works is
// served at once.
func TestReceiversThatNeverAnswerLeaveRoomForTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		rs.release(mustEnter(t, rs, "good"), reply{answer: answerGood, took: time.Millisecond})
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 4 * MaxSending {
			go func() {
				if p, err := rs.acquire(ctx, alone(fmt.Sprint("silent ", i/8))); err == nil {
					<-ctx.Done()
					rs.cancel(p)
				}
			}()
		}
		synctest.Wait()
		if rs.waiting > maxWaitingUnproven+4*MaxSending/8 { // the first of each host may always wait
			t.Errorf("%d wait and keep their jobs", rs.waiting)
		}
		begun := time.Now()
		rs.release(mustEnter(t, rs, "good"), reply{answer: answerGood, took: time.Millisecond})
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("it waited %s", waited)
		}
		cancel()
		synctest.Wait()
		if rs.waiting != 0 || rs.sending != (sending{}) {
			t.Errorf("at the end %d wait, %+v are on their way", rs.waiting, rs.sending)
		}
	})
}

// Receivers that answer slowly, each with a backlog, together could take every
// slot of the process for ever.
func TestSlowReceiversWithABacklogLeaveRoomForTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 20 {
			place := fmt.Sprint("slow ", i)
			for range maxWindow { // as wide a window as there is
				rs.release(mustEnter(t, rs, place), reply{answer: answerGood, took: 5 * time.Second})
			}
		}
		for i := range 20 {
			place := fmt.Sprint("slow ", i)
			for range maxWindow + maxWaiting {
				go func() {
					for ctx.Err() == nil {
						p, err := rs.acquire(ctx, alone(place))
						if held, ok := errors.AsType[heldError](err); ok {
							time.Sleep(held.wait)
						}
						if err == nil {
							time.Sleep(5 * time.Second)
							rs.release(p, reply{answer: answerGood, took: 5 * time.Second})
						}
					}
				}()
			}
		}
		time.Sleep(time.Minute)
		for range 20 {
			begun := time.Now()
			p, err := rs.acquire(ctx, alone("fast"))
			if err != nil {
				t.Errorf("a fast receiver is sent away: %v", err)
				break
			}
			rs.release(p, reply{answer: answerGood, took: time.Millisecond})
			if waited := time.Since(begun); waited > 10*time.Second {
				t.Errorf("it waited %s", waited)
			}
		}
		cancel()
		time.Sleep(time.Hour)
	})
}

// What is held back comes back at the speed at which the receiver works, not all
// at once.
func TestHeldDeliveriesComeBackOneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		breakDown(t, rs, "a")
		var waits []time.Duration
		for range 100 {
			waits = append(waits, heldFor(t, rs, "a"))
		}
		for i := 1; i < len(waits); i++ {
			if waits[i] <= waits[i-1] {
				t.Fatalf("delivery %d comes back after %s, the one before it after %s", i, waits[i], waits[i-1])
			}
		}
	})
}

// Whatever receivers do: the bounds hold, every pass is given back, nobody waits
// for ever.
func TestReceiversKeepTheirBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		rs := newReceivers()
		type request struct {
			pass *pass
			at   place
		}
		var under []request
		probing := map[place]int{}
		for range rapid.IntRange(1, 300).Draw(rt, "steps") {
			at := place{rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "host"), rapid.Uint64Range(1, 3).Draw(rt, "key")}
			if rapid.Bool().Draw(rt, "enter") {
				ctx, cancel := context.WithCancel(context.Background())
				cancel() // nobody waits
				if p, err := rs.acquire(ctx, at); err == nil {
					under = append(under, request{p, at})
					if p.probe {
						probing[at]++
					}
				}
			} else if len(under) > 0 {
				i := rapid.IntRange(0, len(under)-1).Draw(rt, "which")
				r := under[i]
				if rapid.Bool().Draw(rt, "only connects") {
					rs.connected(r.pass)
					continue
				}
				under = append(under[:i:i], under[i+1:]...)
				if r.pass.probe {
					probing[r.at]--
				}
				rs.release(r.pass, reply{answer: answer(rapid.IntRange(0, 3).Draw(rt, "answer")), took: time.Millisecond})
			}
			if rs.sending.all() != len(under) {
				rt.Fatalf("%d are on their way, counted %d", len(under), rs.sending.all())
			}
			for name, h := range rs.hosts {
				sum := 0
				for key, r := range h.receivers {
					sum += r.sending.all()
					n := probing[place{name, key}]
					if r.window < 1 || r.window > maxWindow || len(r.waiting) > 0 || n > 1 || r.probing != (n == 1) {
						rt.Fatalf("%s %d: %+v, %d probes", name, key, r, n)
					}
				}
				if h.window < 1 || h.window > maxShare || h.waiting != 0 || h.sending.all() != sum || h.blame < 0 || h.blame > patience {
					rt.Fatalf("%s: %+v", name, h)
				}
			}
		}
		for _, r := range under {
			rs.cancel(r.pass)
		}
		if rs.sending != (sending{}) {
			rt.Fatalf("slots are lost: %+v", rs.sending)
		}
	})
}

func TestAnIdleReceiverIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		breakDown(t, rs, "broken")
		rs.release(mustEnter(t, rs, "fine"), reply{answer: answerGood, took: time.Millisecond})
		if open, sending := rs.survey(); open != 1 || sending != 0 || len(rs.hosts) != 2 {
			t.Errorf("%d open, %d sending, %d known", open, sending, len(rs.hosts))
		}
		time.Sleep(forgetAfter + 1)
		if open, _ := rs.survey(); open != 0 || len(rs.hosts) != 0 {
			t.Errorf("%d open, %d known", open, len(rs.hosts))
		}
	})
}
