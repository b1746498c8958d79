// Package figures holds what was measured and shows it: values with their
// targets, summarized over several runs, as a table and as JSON.
//
//	s := figures.NewSeries(figures.Median)
//	s.Add("late_p99", "lateness at the relay, p99", "ms", 1.4, figures.AtMost(20))
//	err := console.Print(output, figures.NewDocument(ctx, output, "late", begun, s.Result()))
package figures
