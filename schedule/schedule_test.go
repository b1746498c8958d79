package schedule

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// lognormal makes samples around a median.
func lognormal(n int, median time.Duration, spread float64) []Sample {
	random := rand.New(rand.NewPCG(7, 7))
	samples := make([]Sample, n)
	for i := range samples {
		samples[i] = Sample{Age: secondsOf(median.Seconds() * math.Exp(spread*random.NormFloat64())), Ended: true}
	}
	return samples
}

func TestFewSamplesTeachNothing(t *testing.T) {
	t.Parallel()
	if Fit(lognormal(MinSamples-1, time.Minute, 0.3), 5*time.Second) != nil {
		t.Error("learned from too few")
	}
	censored := lognormal(1000, time.Minute, 0.3)
	for i := range censored {
		censored[i].Ended = false
	}
	if Fit(censored, 5*time.Second) != nil {
		t.Error("learned from tasks that have not ended")
	}
}

func TestPollsGatherWhereTasksEnd(t *testing.T) {
	t.Parallel()
	s := Fit(lognormal(2000, 2*time.Minute, 0.2), 5*time.Second)
	early, likely := s.Wait(5*time.Second, 1), s.Wait(2*time.Minute, 1)
	if early < 20*time.Second || likely > 4*time.Second {
		t.Errorf("wait %s when young, %s when likely to end", early, likely)
	}
	if late := s.Wait(time.Hour, 1); late != 5*time.Second {
		t.Errorf("older than all known tasks: wait %s", late)
	}
}

func TestTasksThatStillRunCountAsSlow(t *testing.T) {
	t.Parallel()
	samples := lognormal(500, time.Minute, 0.2)
	without := Fit(samples, 5*time.Second)
	for range 500 {
		samples = append(samples, Sample{Age: 75 * time.Second})
	}
	with := Fit(samples, 5*time.Second)
	fast, _ := without.Remaining(0, 0.5)
	slow, _ := with.Remaining(0, 0.5)
	if slow <= fast {
		t.Errorf("median %s with and %s without the running ones", slow, fast)
	}
}

func TestRemainingTimesAreThoseOfTheSamples(t *testing.T) {
	t.Parallel()
	s := Fit(lognormal(5000, time.Minute, 0.3), 5*time.Second)
	for share, want := range map[float64]float64{0.5: 60, 0.9: 60 * math.Exp(0.3*1.2816)} {
		got, ok := s.Remaining(0, share)
		if !ok || math.Abs(got.Seconds()/want-1) > 0.06 {
			t.Errorf("p%.0f: %s, want about %.0fs", share*100, got, want)
		}
	}
	if young, _ := s.Remaining(0, 0.9); young == 0 {
		t.Error("a young task has nothing left")
	}
	if _, ok := s.Remaining(time.Hour, 0.5); ok {
		t.Error("nobody knows about a task that old")
	}
}

// Whatever was learned, waits are positive and within the bounds.
func TestWaitsStayWithinTheirBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		interval := time.Duration(rapid.Int64Range(int64(100*time.Millisecond), int64(time.Minute)).Draw(t, "interval"))
		ages := rapid.SliceOfN(rapid.Int64Range(1, int64(time.Hour)), MinSamples, 200).Draw(t, "ages")
		samples := make([]Sample, len(ages))
		for i, age := range ages {
			samples[i] = Sample{Age: time.Duration(age), Ended: true}
		}
		s := Fit(samples, interval)
		age := time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "age"))
		wait := s.Wait(age, 1)
		if lo, hi := interval.Seconds()/fastest*0.99, interval.Seconds()/slowest*1.01; wait.Seconds() < lo || wait.Seconds() > hi {
			t.Fatalf("wait %s at %s with interval %s", wait, age, interval)
		}
	})
}
