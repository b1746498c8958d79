package capacities

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/klingwatch/klingwatch/worker/poll"
)

// kind is what tasks are like, and how they are polled.
type kind struct {
	interval time.Duration // between two polls of a task
	median   time.Duration // of the durations of tasks
	crowded  bool          // more tasks are in flight than have slots: waiting ones leave
}

const (
	// spread is the standard deviation of the durations' logarithm: two thirds end within
	// a third of the median.
	spread = 0.3
	// jitter is by which part the waits between polls differ, as in worker/poll.
	jitter = 0.1
)

// life is what the tasks of a kind do, on average.
type life struct {
	duration float64 // seconds, from the insert to the poll that sees the end
	polls    float64
	stays    float64 // times that a worker took it up
	resident float64 // seconds of its duration that it was in a worker's memory
}

// simulate follows tasks from the insert to the poll that sees their end, the same ones
// each time.
func (k kind) simulate(tasks int) life {
	random := rand.New(rand.NewPCG(1, 2))
	var sum life
	for range tasks {
		end := time.Duration(float64(k.median) * math.Exp(spread*random.NormFloat64()))
		one := k.follow(end, random.Float64)
		sum.duration, sum.polls, sum.stays, sum.resident = sum.duration+one.duration, sum.polls+one.polls, sum.stays+one.stays, sum.resident+one.resident
	}
	n := float64(tasks)
	return life{sum.duration / n, sum.polls / n, sum.stays / n, sum.resident / n}
}

// follow polls a task until its end is seen. It is polled first when it is inserted.
func (k kind) follow(end time.Duration, random func() float64) life {
	one := life{polls: 1, stays: 1}
	age, read := time.Duration(0), time.Duration(0)
	for age < end {
		wait := time.Duration(float64(k.interval) * (1 + jitter*(2*random()-1)))
		if poll.Stays(wait, age-read, k.crowded) {
			one.resident += wait.Seconds()
		} else {
			one.stays++
			read = age + wait
		}
		age += wait
		one.polls++
	}
	one.duration = age.Seconds()
	return one
}
