package reports

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/db"
)

// ReportCommand measures the report views on many tasks.
type ReportCommand struct {
	bench.Options
	Tasks int `placeholder:"N" help:"Tasks in the database; default: 1000000, with --quick 10000."`
	Days  int `default:"30" help:"Days that they are spread over, today included."`
	Runs  int `default:"5" help:"Runs of each query, of which the median counts."`
}

// Run measures.
func (cmd ReportCommand) Run(ctx context.Context, c *figures.Console) error {
	if cmd.Tasks == 0 {
		cmd.Tasks = 1_000_000
		if cmd.Quick {
			cmd.Tasks = 10_000
		}
	}
	return cmd.Measure(ctx, c, "report", cmd.measure)
}

// reportTarget bounds each query, in milliseconds.
const reportTarget = 200

func (cmd ReportCommand) measure(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
	s := figures.NewSeries(figures.Median)
	err := b.WithDatabase(ctx, func(d *bench.Database) error {
		b.Progress.Sayf("writing %d tasks over %d days", cmd.Tasks, cmd.Days)
		if err := InsertHistory(ctx, d, cmd.Tasks, cmd.Days); err != nil {
			return err
		}
		b.Progress.Say("summarizing the past days")
		if err := measureRefresh(ctx, d, s, "summarize", fmt.Sprintf("summarizing %d days at once", cmd.Days-1)); err != nil {
			return err
		}
		if err := measureMetadata(ctx, d, s); err != nil {
			return err
		}
		for range cmd.Runs {
			if err := measureRefresh(ctx, d, s, "refresh", "the refresh of every minute"); err != nil {
				return err
			}
			if err := measureQueries(ctx, b, d, s); err != nil {
				return err
			}
		}
		return nil
	})
	return s.Result(), err
}

func measureRefresh(ctx context.Context, d *bench.Database, s *figures.Series, name, label string) error {
	begun := time.Now()
	if _, err := db.RefreshReports(ctx, d.Pool); err != nil {
		return fmt.Errorf("refreshing the reports: %w", err)
	}
	s.Add(name, label, "ms", figures.Milliseconds(time.Since(begun)), nil)
	return nil
}

// measureMetadata asks for a key of metadata that nobody has summarized, and then
// summarizes it.
func measureMetadata(ctx context.Context, d *bench.Database, s *figures.Series) error {
	for _, q := range []struct{ name, label, sql string }{
		{"metadata_read", "report_by_metadata, all days, not summarized", `select * from klingwatch.report_by_metadata('customer')`},
		{"metadata_summarize", "summarizing a key of metadata", `select klingwatch.summarize_metadata('customer')`},
	} {
		begun := time.Now()
		if _, err := countRows(ctx, d, q.sql); err != nil {
			return fmt.Errorf("%s: %w", q.label, err)
		}
		s.Add(q.name, q.label, "ms", figures.Milliseconds(time.Since(begun)), nil)
	}
	return nil
}

func measureQueries(ctx context.Context, b *bench.Bench, d *bench.Database, s *figures.Series) error {
	for _, q := range reportQueries {
		b.Progress.Sayf("querying %s", q.name)
		begun := time.Now()
		rows, err := countRows(ctx, d, q.sql)
		if err != nil {
			return fmt.Errorf("querying %s: %w", q.name, err)
		}
		s.Add(q.name, q.label, "ms", figures.Milliseconds(time.Since(begun)), figures.AtMost(reportTarget))
		s.Add(q.name+"_rows", "  rows", "", float64(rows), nil)
	}
	return nil
}
