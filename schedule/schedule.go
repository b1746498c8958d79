package schedule

import (
	"math"
	"slices"
	"time"
)

// The polling schedule learns when tasks of one type end. With a poll density
// n(t) at age t, the expected delay until an end is seen is the mean of
// 1/(2 n(T)), and the expected number of polls is the integral of n(t) times the
// share S(t) of tasks that live that long. For a given number of polls the delay
// is least when n(t) is proportional to the square root of the hazard rate
// (Keller 1974, "Optimum checking schedules for systems subject to random
// failure"; Barlow and Proschan, "Mathematical Theory of Reliability").
const (
	// MinSamples ended tasks are needed to learn from; with fewer the fixed
	// interval is as good a guess.
	MinSamples = 50
	// ageBins divide the ages at which tasks were seen to end, by equal factors.
	ageBins = 60
	// The density stays within these factors of the fixed interval's: something
	// may change at the provider, and the relay should not be hammered.
	slowest, fastest = 1.0 / 10, 20.0
)

// Sample is one task to learn from.
type Sample struct {
	Age   time.Duration // when it ended, or how old it is by now
	Ended bool          // false: still running, or we stopped looking (censored)
}

// Schedule says when to ask about a task of one type. It is immutable.
type Schedule struct {
	edges    []float64 // ages in seconds: bin k is from edges[k] to edges[k+1]; the first is 0
	hazard   []float64 // ends per second and running task, per bin
	survival []float64 // share of tasks still running, at edges
	density  []float64 // polls per second, per bin
	tail     float64   // polls per second beyond the last edge: the fixed interval's
}

// Fit learns from tasks of one type. The expected number of polls per
// task is the one of the fixed interval. It returns nil for fewer than
// MinSamples that ended.
func Fit(samples []Sample, interval time.Duration) *Schedule {
	var ends []float64
	for _, s := range samples {
		if s.Ended && s.Age > 0 {
			ends = append(ends, s.Age.Seconds())
		}
	}
	if len(ends) < MinSamples {
		return nil
	}
	slices.Sort(ends)
	s := &Schedule{edges: binEdges(ends), tail: 1 / interval.Seconds()}
	s.estimate(samples)
	s.allot(interval)
	return s
}

// binEdges spaces the bins by equal factors around the ages at which tasks
// ended; ends is sorted.
func binEdges(ends []float64) []float64 {
	first, last := ends[len(ends)/200]/1.3, ends[len(ends)-1]*1.3
	edges := []float64{0}
	factor := math.Pow(last/first, 1.0/ageBins)
	for i := range ageBins + 1 {
		edges = append(edges, first*math.Pow(factor, float64(i)))
	}
	return edges
}

// estimate counts ends and time at risk per bin, smooths them over the
// neighbours, and derives hazard and survival.
func (s *Schedule) estimate(samples []Sample) {
	bins := len(s.edges) - 1
	ends, risk := make([]float64, bins), make([]float64, bins)
	for _, sample := range samples {
		age := sample.Age.Seconds()
		for k := range bins {
			if age <= s.edges[k] {
				break
			}
			risk[k] += min(age, s.edges[k+1]) - s.edges[k]
			if sample.Ended && age <= s.edges[k+1] {
				ends[k]++
			}
		}
	}
	ends, risk = smooth(ends), smooth(risk)
	s.hazard, s.survival = make([]float64, bins), make([]float64, bins+1)
	s.survival[0] = 1
	for k := range bins {
		if risk[k] > 0 {
			s.hazard[k] = ends[k] / risk[k]
		}
		s.survival[k+1] = s.survival[k] * math.Exp(-s.hazard[k]*(s.edges[k+1]-s.edges[k]))
	}
}

// smooth weighs each value with its neighbours, 1:2:1. The first bin reaches
// down to age 0 and is kept apart.
func smooth(values []float64) []float64 {
	out := slices.Clone(values)
	for k := 2; k < len(values)-1; k++ {
		out[k] = (values[k-1] + 2*values[k] + values[k+1]) / 4
	}
	return out
}

// allot finds the factor of the square root of the hazard that spends as many
// polls as the fixed interval would; the expected number grows with it.
func (s *Schedule) allot(interval time.Duration) {
	fixed := 1 / interval.Seconds()
	bins := len(s.hazard)
	lived := make([]float64, bins) // mean time that a task spends in each bin
	budget := 0.0
	for k := range bins {
		lived[k] = s.survival[k] * (s.edges[k+1] - s.edges[k])
		if s.hazard[k] > 0 {
			lived[k] = (s.survival[k] - s.survival[k+1]) / s.hazard[k]
		}
		budget += lived[k] * fixed
	}
	s.density = make([]float64, bins)
	polls := func(factor float64) (n float64) {
		for k := range bins {
			s.density[k] = min(max(factor*math.Sqrt(s.hazard[k]), slowest*fixed), fastest*fixed)
			n += s.density[k] * lived[k]
		}
		return n
	}
	low, high := 0.0, 1.0
	for polls(high) < budget && high < 1e12 {
		high *= 2
	}
	for range 60 {
		if middle := (low + high) / 2; polls(middle) < budget {
			low = middle
		} else {
			high = middle
		}
	}
	polls(low)
}

// Wait returns how long after an age the next poll is due. step is 1, or a
// number around it for jitter.
func (s *Schedule) Wait(age time.Duration, step float64) time.Duration {
	from := max(age.Seconds(), 0)
	at := from
	for k, density := range s.density {
		if at >= s.edges[k+1] {
			continue
		}
		share := (s.edges[k+1] - at) * density
		if share >= step {
			return secondsOf(at + step/density - from)
		}
		step -= share
		at = s.edges[k+1]
	}
	return secondsOf(at + step/s.tail - from)
}

// Remaining returns how much longer a task of that age runs, with probability
// share; false when too few tasks got that old to tell.
func (s *Schedule) Remaining(age time.Duration, share float64) (time.Duration, bool) {
	goal := s.survivalAt(age.Seconds()) * (1 - share)
	for k := range s.hazard {
		if s.survival[k+1] > goal {
			continue
		}
		at := s.edges[k] + math.Log(s.survival[k]/goal)/s.hazard[k]
		return secondsOf(max(at-age.Seconds(), 0)), goal > 0
	}
	return 0, false
}

func (s *Schedule) survivalAt(age float64) float64 {
	for k := range s.hazard {
		if age < s.edges[k+1] {
			return s.survival[k] * math.Exp(-s.hazard[k]*(age-s.edges[k]))
		}
	}
	return 0
}

func secondsOf(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
