package main

import (
	"math"
	"slices"
	"time"
)

// figure is one measured value.
type figure struct {
	Name    string    `json:"name"` // stable, for programs
	Label   string    `json:"label"`
	Unit    string    `json:"unit"` // "" for ratios
	Value   float64   `json:"value"`
	Runs    []float64 `json:"runs,omitempty"` // the single runs behind Value, where there are several
	Target  *target   `json:"target,omitempty"`
	Reached *bool     `json:"reached,omitempty"` // nil: there is no target
}

// target is what the value should be.
type target struct {
	Relation string  `json:"relation"` // ">=" or "<="
	Value    float64 `json:"value"`
}

func atLeast(v float64) *target { return &target{">=", v} }
func atMost(v float64) *target  { return &target{"<=", v} }

func (t target) reachedBy(v float64) bool {
	if t.Relation == ">=" {
		return v >= t.Value
	}
	return v <= t.Value
}

// series collects the same figures of several runs.
type series struct {
	order   []string
	figures map[string]figure
	summary func([]float64) float64 // of the runs
}

func newSeries(summary func([]float64) float64) *series {
	return &series{figures: map[string]figure{}, summary: summary}
}

// add takes the value of one run; label, unit and target are those of the last.
func (s *series) add(name, label, unit string, value float64, t *target) {
	f, known := s.figures[name]
	if !known {
		s.order = append(s.order, name)
	}
	s.figures[name] = figure{Name: name, Label: label, Unit: unit, Runs: append(f.Runs, value), Target: t}
}

// result summarises the runs.
func (s *series) result() []figure {
	figures := make([]figure, len(s.order))
	for i, name := range s.order {
		f := s.figures[name]
		f.Value = s.summary(f.Runs)
		if f.Target != nil {
			reached := f.Target.reachedBy(f.Value)
			f.Reached = &reached
		}
		if len(f.Runs) == 1 {
			f.Runs = nil
		}
		figures[i] = f
	}
	return figures
}

// median of a list; 0 for an empty one.
func median(values []float64) float64 { return percentile(values, 0.5) }

func worst(values []float64) float64 { return slices.Max(values) }

// percentile interpolates between the two values next to rank p (0 to 1).
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := p * float64(len(sorted)-1)
	below := int(math.Floor(rank))
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (rank-float64(below))*(sorted[above]-sorted[below])
}

// milliseconds of a duration, with fractions.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// microseconds of a duration, with fractions.
func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// ratio of two values; 0 when nothing was measured.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
