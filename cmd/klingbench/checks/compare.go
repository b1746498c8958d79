package checks

import "github.com/klingwatch/klingwatch/cmd/klingbench/figures"

// tolerance is by how much a figure may be worse than the stored one.
const tolerance = 0.15

// verdict is what a figure is compared with the stored one.
type verdict int

const (
	fine     verdict = iota
	worse            // by more than the tolerance
	unstored         // there is nothing to compare it with
)

// judge compares a figure with the stored one.
func (f figure) judge(stored, now float64) verdict {
	switch {
	case stored == 0:
		return unstored
	case f.better == lower && now > stored*(1+tolerance), f.better == higher && now < stored*(1-tolerance):
		return worse
	}
	return fine
}

// values are what several runs of a measurement had, by the name of the figure.
type values map[string][]float64

// add adds the figures of one run.
func (v values) add(d figures.Document) {
	for _, f := range d.Figures {
		v[f.Name] = append(v[f.Name], f.Value)
	}
}

// medians are those of the figures that are watched.
func (m measurement) medians(v values) map[string]float64 {
	medians := map[string]float64{}
	for _, f := range m.figures {
		medians[f.name] = figures.Median(v[f.name])
	}
	return medians
}

// worse lists the watched figures that are worse than the stored ones.
func (m measurement) worse(stored, now map[string]float64) (names []string) {
	for _, f := range m.figures {
		if f.judge(stored[f.name], now[f.name]) == worse {
			names = append(names, f.name)
		}
	}
	return names
}
