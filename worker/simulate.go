package worker

import (
	"math"
	"math/rand/v2"
	"time"
)

// Simulation compares the learned schedule with the fixed interval.
type Simulation struct {
	FixedDelay, LearnedDelay time.Duration // mean time from a task's end until it is seen
	FixedPolls, LearnedPolls float64       // per task
}

// SimulateSchedule learns from tasks with lognormal durations and then follows
// others with both schedules. spread is the standard deviation of the
// durations' logarithm: 0.25 means that two thirds end within a quarter of the
// median.
func SimulateSchedule(median time.Duration, spread float64, interval time.Duration, tasks int, seed uint64) Simulation {
	random := rand.New(rand.NewPCG(seed, 1))
	duration := func() time.Duration {
		return seconds(median.Seconds() * math.Exp(spread*random.NormFloat64()))
	}
	samples := make([]Sample, tasks)
	for i := range samples {
		samples[i] = Sample{Age: duration(), Ended: true}
	}
	learned := LearnSchedule(samples, interval)
	var sim Simulation
	for range tasks {
		end := duration()
		// both start at a random moment of their first step, as jitter makes them
		delay, polls := follow(end, random.Float64(), func(_ time.Duration, step float64) time.Duration {
			return seconds(interval.Seconds() * step)
		})
		sim.FixedDelay += delay
		sim.FixedPolls += polls
		delay, polls = follow(end, random.Float64(), learned.Wait)
		sim.LearnedDelay += delay
		sim.LearnedPolls += polls
	}
	n := float64(tasks)
	sim.FixedDelay, sim.LearnedDelay = time.Duration(float64(sim.FixedDelay)/n), time.Duration(float64(sim.LearnedDelay)/n)
	sim.FixedPolls, sim.LearnedPolls = sim.FixedPolls/n, sim.LearnedPolls/n
	return sim
}

// follow asks by a schedule until the end is seen.
func follow(end time.Duration, first float64, wait func(age time.Duration, step float64) time.Duration) (delay time.Duration, polls float64) {
	age := wait(0, first)
	for polls = 1; age < end; polls++ {
		age += wait(age, 1)
	}
	return age - end, polls
}
