package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// Part is what can be measured alone.
type Part struct {
	Name    string
	Runs    int // the median of which counts
	Measure func(context.Context, *Bench, *figures.Series) error
}

// MeasureParts measures those of all parts that are wanted; without a name all are.
func (o Options) MeasureParts(ctx context.Context, c *figures.Console, command string, all []Part, only []string) error {
	parts, err := wanted(all, only)
	if err != nil {
		return err
	}
	return o.Measure(ctx, c, command, func(ctx context.Context, b *Bench) ([]figures.Figure, error) {
		s := figures.NewSeries(figures.Median)
		for _, part := range parts {
			for run := range part.Runs {
				b.Progress.Sayf("%s, run %d of %d", part.Name, run+1, part.Runs)
				if err := part.Measure(ctx, b, s); err != nil {
					return nil, fmt.Errorf("measuring %s: %w", part.Name, err)
				}
			}
		}
		return s.Result(), nil
	})
}

func wanted(all []Part, only []string) ([]Part, error) {
	if len(only) == 0 {
		return all, nil
	}
	var names []string
	for _, part := range all {
		names = append(names, part.Name)
	}
	for _, name := range only {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("there is no part %q: try %s", name, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(all, func(part Part) bool { return !slices.Contains(only, part.Name) }), nil
}
