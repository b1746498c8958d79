package fetch_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/klingwatch/klingwatch/worker/fetch"
)

var day = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)

// download is one that asks for its turn in a test.
type download struct {
	host    string
	expires time.Time
	number  int
	cancel  context.CancelFunc
	err     error
	done    func() // not nil: it runs
	ended   bool
}

func (d *download) String() string { return fmt.Sprintf("%d of %s", d.number, d.host) }

// ask begins to wait, in a goroutine of its own.
func ask(ctx context.Context, turns *fetch.Turns, d *download) {
	ctx, d.cancel = context.WithCancel(ctx)
	go func() {
		done, err := turns.Wait(ctx, d.host, d.expires)
		d.done, d.err = done, err
	}()
	synctest.Wait()
}

func TestWhoseFileExpiresFirstBeginsFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := fetch.NewTurns(1, 1)
		running := &download{host: "a"}
		ask(t.Context(), turns, running)
		list := []*download{
			{host: "a", number: 4}, // nobody knows when
			{host: "a", number: 3, expires: day.Add(time.Hour)},
			{host: "b", number: 1, expires: day},
			{host: "a", number: 2, expires: day}, // as soon, but came later
		}
		for _, d := range list {
			ask(t.Context(), turns, d)
		}
		if turns.Running() != 1 || turns.Waiting() != 4 {
			t.Errorf("%d run, %d wait", turns.Running(), turns.Waiting())
		}
		slices.SortFunc(list, func(a, b *download) int { return cmp.Compare(a.number, b.number) })
		for _, next := range list {
			if next.done != nil {
				t.Errorf("%s began too early", next)
			}
			running.done()
			running.done() // once is enough, and twice frees no second turn
			synctest.Wait()
			if next.done == nil {
				t.Fatalf("%s did not begin", next)
			}
			running = next
		}
		running.done()
		if turns.Running() != 0 || turns.Waiting() != 0 {
			t.Errorf("%d run, %d wait", turns.Running(), turns.Waiting())
		}
	})
}

func TestAHostThatIsSlowHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := fetch.NewTurns(3, 2)
		slow := []*download{{host: "slow"}, {host: "slow"}, {host: "slow", expires: day}}
		for _, d := range slow {
			ask(t.Context(), turns, d)
		}
		other := &download{host: "other", expires: day.Add(time.Hour)}
		ask(t.Context(), turns, other)
		if other.done == nil || slow[2].done != nil {
			t.Error("the third of a host runs before the first of another")
		}
		slow[2].cancel()
		synctest.Wait()
		if !errors.Is(slow[2].err, context.Canceled) {
			t.Errorf("%v", slow[2].err)
		}
		slow[0].done()
		slow[1].done()
		other.done()
	})
}

// event is what happens to the turns; number picks one of those to whom it can.
type event struct {
	what, host string
	hours      int // until the file expires; 0: nobody knows
	number     int
}

func drawEvent(rt *rapid.T) event {
	return event{
		what: rapid.SampledFrom([]string{"ask", "ask", "end", "give up"}).Draw(rt, "what"), host: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "host"),
		hours: rapid.IntRange(0, 5).Draw(rt, "hours"), number: rapid.IntRange(0, 1000).Draw(rt, "number"),
	}
}

// At any moment: no more than allowed run, nobody waits who could run, and each who
// begins was the first of those who could.
func TestTurnsAreKeptInAnyOrderOfEvents(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		inAll, perHost := rapid.IntRange(1, 4).Draw(rt, "inAll"), rapid.IntRange(1, 3).Draw(rt, "perHost")
		events := rapid.SliceOfN(rapid.Custom(drawEvent), 1, 40).Draw(rt, "events")
		var problem string
		synctest.Test(t, func(t *testing.T) { problem = play(t.Context(), events, inAll, perHost) })
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// play returns what went wrong.
func play(ctx context.Context, events []event, inAll, perHost int) string {
	turns := fetch.NewTurns(inAll, perHost)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all []*download
	for i, e := range events {
		before := filtered(all, isRunning)
		candidates := map[string][]*download{"end": before, "give up": filtered(all, isWaiting)}[e.what]
		switch {
		case e.what == "ask":
			d := &download{number: i, host: e.host}
			if e.hours > 0 {
				d.expires = day.Add(time.Duration(e.hours) * time.Hour)
			}
			all = append(all, d)
			ask(ctx, turns, d)
		case len(candidates) == 0:
		case e.what == "end":
			d := candidates[e.number%len(candidates)]
			d.done()
			d.ended = true
		default:
			candidates[e.number%len(candidates)].cancel()
		}
		synctest.Wait()
		if problem := fault(turns, all, before, inAll, perHost); problem != "" {
			return problem
		}
	}
	return ""
}

func isRunning(d *download) bool { return d.done != nil && !d.ended }
func isWaiting(d *download) bool { return d.done == nil && d.err == nil }

func filtered(all []*download, which func(*download) bool) []*download {
	return slices.DeleteFunc(slices.Clone(all), func(d *download) bool { return !which(d) })
}

// fault says what of the rules is broken.
func fault(turns *fetch.Turns, all, before []*download, inAll, perHost int) string {
	running, waiting := filtered(all, isRunning), filtered(all, isWaiting)
	if turns.Running() != len(running) || turns.Waiting() != len(waiting) {
		return fmt.Sprintf("it counts %d and %d, but %v run and %v wait", turns.Running(), turns.Waiting(), running, waiting)
	}
	ofHost := map[string]int{}
	for _, d := range running {
		ofHost[d.host]++
		if ofHost[d.host] > perHost {
			return fmt.Sprintf("%v run: too many of %s", running, d.host)
		}
	}
	if len(running) > inAll {
		return fmt.Sprintf("%v run: too many", running)
	}
	for _, w := range waiting {
		if len(running) < inAll && ofHost[w.host] < perHost {
			return fmt.Sprintf("%v waits, though only %v run", w, running)
		}
		for _, d := range running {
			if began := !slices.Contains(before, d); began && d.host == w.host && sooner(w, d) {
				return fmt.Sprintf("%v began before %v", d, w)
			}
		}
	}
	return ""
}

func sooner(a, b *download) bool {
	return !a.expires.IsZero() && (b.expires.IsZero() || a.expires.Before(b.expires))
}
