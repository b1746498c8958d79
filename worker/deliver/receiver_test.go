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

// enter takes a pass that must be there at once.
func mustEnter(t *testing.T, rs *receivers, place string) *pass {
	t.Helper()
	p, err := rs.acquire(t.Context(), place)
	if err != nil {
		t.Fatalf("%s: %v", place, err)
	}
	return p
}

// heldFor returns how long a delivery must stay away; 0 when it may be sent.
func heldFor(t *testing.T, rs *receivers, place string) time.Duration {
	t.Helper()
	p, err := rs.acquire(t.Context(), place)
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
		rs.release(mustEnter(t, rs, place), answerBad, time.Millisecond, 0)
	}
}

func TestAReceiverGetsMoreRequestsAtOnceAsItSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		atOnce := func() int {
			var passes []*pass
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
				p, err := rs.acquire(ctx, "a")
				cancel()
				if err != nil {
					break
				}
				passes = append(passes, p)
			}
			for _, p := range passes {
				rs.release(p, answerGood, time.Millisecond, 0)
			}
			return len(passes)
		}
		if n := atOnce(); n != firstWindow {
			t.Errorf("a new receiver gets %d at once", n)
		}
		for range 20 {
			atOnce()
		}
		if n := atOnce(); n != maxWindow {
			t.Errorf("a good receiver gets %d at once, want %d", n, maxWindow)
		}
		rs.release(mustEnter(t, rs, "a"), answerBad, time.Millisecond, 0)
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
			rs.release(probe, answerBad, time.Millisecond, 0)
			last = min(2*last, maxOpen)
			if wait := heldFor(t, rs, "a"); wait < last*8/10 && wait < maxHold/2 {
				t.Errorf("held for %s, want about %s", wait, last)
			}
		}
		time.Sleep(maxOpen * 12 / 10)
		if !rs.release(mustEnter(t, rs, "a"), answerGood, time.Millisecond, 0) {
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
		rs.release(mustEnter(t, rs, "a"), answerBad, time.Millisecond, 2*time.Minute)
		if wait := heldFor(t, rs, "a"); wait < 2*time.Minute {
			t.Errorf("held for %s", wait)
		}
		time.Sleep(2 * time.Minute)
		if wait := heldFor(t, rs, "a"); wait != 0 {
			t.Errorf("held for %s after that", wait)
		}
		rs.release(mustEnter(t, rs, "a"), answerBad, time.Millisecond, 24*time.Hour)
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
		var passes []*pass
		for range firstWindow {
			passes = append(passes, mustEnter(t, rs, "a"))
		}
		outcome := make(chan error, 10)
		for range cap(outcome) {
			go func() {
				p, err := rs.acquire(t.Context(), "a")
				if err == nil {
					rs.release(p, answerBad, time.Second, 0)
				}
				outcome <- err
			}()
		}
		synctest.Wait()
		for _, p := range passes {
			rs.release(p, answerBad, time.Second, 0)
		}
		held := 0
		for range cap(outcome) {
			if _, ok := errors.AsType[heldError](<-outcome); ok {
				held++
			}
		}
		if held < cap(outcome)-firstWindow {
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
		rs.release(mustEnter(t, rs, "good"), answerGood, time.Millisecond, 0)
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 4 * MaxSending {
			go func() {
				if p, err := rs.acquire(ctx, fmt.Sprint("silent ", i/8)); err == nil {
					<-ctx.Done()
					rs.cancel(p)
				}
			}()
		}
		synctest.Wait()
		if rs.waiting > maxWaitingUnproven+4*MaxSending/8 { // one of each may always wait
			t.Errorf("%d wait and keep their jobs", rs.waiting)
		}
		begun := time.Now()
		rs.release(mustEnter(t, rs, "good"), answerGood, time.Millisecond, 0)
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
				rs.release(mustEnter(t, rs, place), answerGood, 5*time.Second, 0)
			}
		}
		for i := range 20 {
			place := fmt.Sprint("slow ", i)
			for range maxWindow + maxWaiting {
				go func() {
					for ctx.Err() == nil {
						p, err := rs.acquire(ctx, place)
						if held, ok := errors.AsType[heldError](err); ok {
							time.Sleep(held.wait)
						}
						if err == nil {
							time.Sleep(5 * time.Second)
							rs.release(p, answerGood, 5*time.Second, 0)
						}
					}
				}()
			}
		}
		time.Sleep(time.Minute)
		for range 20 {
			begun := time.Now()
			p, err := rs.acquire(ctx, "fast")
			if err != nil {
				t.Errorf("a fast receiver is sent away: %v", err)
				break
			}
			rs.release(p, answerGood, time.Millisecond, 0)
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
			pass  *pass
			place string
		}
		var under []request
		probing := map[string]int{}
		for range rapid.IntRange(1, 300).Draw(rt, "steps") {
			place := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "place")
			if rapid.Bool().Draw(rt, "enter") {
				ctx, cancel := context.WithCancel(context.Background())
				cancel() // nobody waits
				if p, err := rs.acquire(ctx, place); err == nil {
					under = append(under, request{p, place})
					if p.probe {
						probing[place]++
					}
				}
			} else if len(under) > 0 {
				i := rapid.IntRange(0, len(under)-1).Draw(rt, "which")
				r := under[i]
				under = append(under[:i:i], under[i+1:]...)
				if r.pass.probe {
					probing[r.place]--
				}
				rs.release(r.pass, answer(rapid.IntRange(0, 2).Draw(rt, "answer")), time.Millisecond, 0)
			}
			if rs.sending.proven+rs.sending.unproven != len(under) {
				rt.Fatalf("%d are on their way, counted %d", len(under), rs.sending.proven+rs.sending.unproven)
			}
			for place, r := range rs.byPlace {
				if r.window < 1 || r.window > maxWindow || len(r.waiting) > 0 || probing[place] > 1 || r.probing != (probing[place] == 1) {
					rt.Fatalf("%s: %+v, %d probes", place, r, probing[place])
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
		rs.release(mustEnter(t, rs, "fine"), answerGood, time.Millisecond, 0)
		if open, sending := rs.survey(); open != 1 || sending != 0 || len(rs.byPlace) != 2 {
			t.Errorf("%d open, %d sending, %d known", open, sending, len(rs.byPlace))
		}
		time.Sleep(forgetAfter + 1)
		if open, _ := rs.survey(); open != 0 || len(rs.byPlace) != 0 {
			t.Errorf("%d open, %d known", open, len(rs.byPlace))
		}
	})
}
