package figures

// Figure is one measured value.
type Figure struct {
	Name    string    `json:"name"` // stable, for programs
	Label   string    `json:"label"`
	Unit    string    `json:"unit"` // "" for ratios
	Value   float64   `json:"value"`
	Runs    []float64 `json:"runs,omitempty"` // the values that Value summarizes; nil: there was one run
	Target  *Target   `json:"target,omitempty"`
	Reached *bool     `json:"reached,omitempty"` // nil: there is no target
}

// Target is what a value should be.
type Target struct {
	Relation string  `json:"relation"` // ">=" or "<="
	Value    float64 `json:"value"`
}

// AtLeast is the target of a value that should not be below v.
func AtLeast(v float64) *Target { return &Target{">=", v} }

// AtMost is the target of a value that should not be above v.
func AtMost(v float64) *Target { return &Target{"<=", v} }

func (t Target) reachedBy(v float64) bool {
	if t.Relation == ">=" {
		return v >= t.Value
	}
	return v <= t.Value
}

// Series collects the same figures over several runs.
type Series struct {
	order   []string
	figures map[string]Figure
	summary func([]float64) float64 // of the runs
}

// NewSeries returns an empty series; summary makes one value of the values of
// all runs: Median or Worst.
func NewSeries(summary func([]float64) float64) *Series {
	return &Series{figures: map[string]Figure{}, summary: summary}
}

// Add adds the value of one run to the figure of this name. Label, unit ("" for
// ratios) and target (nil: none) are those of the last call.
func (s *Series) Add(name, label, unit string, value float64, target *Target) {
	f, known := s.figures[name]
	if !known {
		s.order = append(s.order, name)
	}
	s.figures[name] = Figure{Name: name, Label: label, Unit: unit, Runs: append(f.Runs, value), Target: target}
}

// Result returns the figures, in the order in which they were first added.
func (s *Series) Result() []Figure {
	figures := make([]Figure, len(s.order))
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
