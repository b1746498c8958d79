package schedules

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/klingwatch/klingwatch/schedule"
)

// simulation is what both schedules need for the same tasks.
type simulation struct {
	fixedDelay, learnedDelay time.Duration // mean time from a task's end until it is seen
	fixedPolls, learnedPolls float64       // per task
}

// simulate learns from tasks with lognormal durations and then follows others
// with both schedules. spread is the standard deviation of the durations'
// logarithm: 0.25 means that two thirds end within a quarter of the median.
func simulate(median time.Duration, spread float64, interval time.Duration, tasks int, seed uint64) simulation {
	random := rand.New(rand.NewPCG(seed, 1))
	duration := func() time.Duration {
		return secondsOf(median.Seconds() * math.Exp(spread*random.NormFloat64()))
	}
	samples := make([]schedule.Sample, tasks)
	for i := range samples {
		samples[i] = schedule.Sample{Age: duration(), Ended: true}
	}
	learned := schedule.Fit(samples, interval)
	fixed := func(_ time.Duration, step float64) time.Duration { return secondsOf(interval.Seconds() * step) }
	var sim simulation
	for range tasks {
		end := duration()
		// both start at a random moment of their first step, as jitter makes them
		delay, polls := follow(end, random.Float64(), fixed)
		sim.fixedDelay += delay
		sim.fixedPolls += polls
		delay, polls = follow(end, random.Float64(), learned.Wait)
		sim.learnedDelay += delay
		sim.learnedPolls += polls
	}
	n := float64(tasks)
	sim.fixedDelay, sim.learnedDelay = time.Duration(float64(sim.fixedDelay)/n), time.Duration(float64(sim.learnedDelay)/n)
	sim.fixedPolls, sim.learnedPolls = sim.fixedPolls/n, sim.learnedPolls/n
	return sim
}

// follow polls by a schedule until the end is seen; first is the part of the
// first step that passes before the first poll.
func follow(end time.Duration, first float64, wait func(age time.Duration, step float64) time.Duration) (delay time.Duration, polls float64) {
	age := wait(0, first)
	for polls = 1; age < end; polls++ {
		age += wait(age, 1)
	}
	return age - end, polls
}

func secondsOf(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
