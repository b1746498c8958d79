package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// reportCommand measures the report views on many tasks.
type reportCommand struct {
	options
	Tasks int `placeholder:"N" help:"Tasks in the database; default: 1000000, with --quick 10000."`
	Days  int `default:"30" help:"Days that they are spread over, today included."`
	Runs  int `default:"5" help:"Runs of each query, of which the median counts."`
}

// Run measures.
func (cmd reportCommand) Run(ctx context.Context, c *figures.Console) error {
	if cmd.Tasks == 0 {
		cmd.Tasks = 1_000_000
		if cmd.Quick {
			cmd.Tasks = 10_000
		}
	}
	return cmd.options.run(ctx, c, "report", cmd.measure)
}

// reportQueries are what a person asks of each view, and all of it where that is
// a few rows.
var reportQueries = []struct{ name, label, sql string }{
	{"report_daily", "report_daily, all days", `select * from klingwatch.report_daily order by day, action, action2`},
	{"report_failures", "report_failures, all", `select * from klingwatch.report_failures order by tasks desc`},
	{"report_in_flight", "report_in_flight, all", `select * from klingwatch.report_in_flight`},
	{"report_outputs", "report_outputs, those that expire within a day", `select * from klingwatch.report_outputs where expires_at between now() and now() + interval '1 day'`},
	{"report_webhooks", "report_webhooks, all", `select * from klingwatch.report_webhooks`},
	{"report_throughput", "report_throughput, the last day", `select * from klingwatch.report_throughput`},
}

// reportTarget bounds each query, in milliseconds.
const reportTarget = 200

func (cmd reportCommand) measure(ctx context.Context, b *bench) ([]figures.Figure, error) {
	s := figures.NewSeries(figures.Median)
	err := b.withDatabase(ctx, func(d *database) error {
		b.progress.Sayf("writing %d tasks over %d days", cmd.Tasks, cmd.Days)
		if err := insertHistory(ctx, d.Pool, cmd.Tasks, cmd.Days); err != nil {
			return err
		}
		b.progress.Say("summarizing the past days")
		begun := time.Now()
		if err := d.refreshReports(ctx); err != nil {
			return err
		}
		s.Add("summarize", fmt.Sprintf("summarizing %d days at once", cmd.Days-1), "ms", figures.Milliseconds(time.Since(begun)), nil)
		for range cmd.Runs {
			begun := time.Now()
			if err := d.refreshReports(ctx); err != nil {
				return err
			}
			s.Add("refresh", "the refresh of every minute", "ms", figures.Milliseconds(time.Since(begun)), nil)
			for _, q := range reportQueries {
				b.progress.Sayf("asking %s", q.name)
				begun := time.Now()
				rows, err := countRows(ctx, d.Pool, q.sql)
				if err != nil {
					return fmt.Errorf("%s: %w", q.name, err)
				}
				s.Add(q.name, q.label, "ms", figures.Milliseconds(time.Since(begun)), figures.AtMost(reportTarget))
				s.Add(q.name+"_rows", "  rows", "", float64(rows), nil)
			}
		}
		return nil
	})
	return s.Result(), err
}

func (d *database) refreshReports(ctx context.Context) error {
	_, err := d.Pool.Exec(ctx, `select klingwatch.refresh_reports()`)
	return err
}

// countRows reads everything that a query returns.
func countRows(ctx context.Context, pool *pgxpool.Pool, sql string) (n int, err error) {
	rows, err := pool.Query(ctx, sql)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}
