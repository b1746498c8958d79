package reports

import (
	"context"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
)

// reportQueries are what a person asks of each view: all of it where that is a few
// rows.
var reportQueries = []struct{ name, label, sql string }{
	{"report_daily", "report_daily, all days", `select * from klingwatch.report_daily order by day, action, action2`},
	{"report_failures", "report_failures, all", `select * from klingwatch.report_failures order by tasks desc`},
	{"week_p95", "report_daily, p95 of a week over all paths", `select klingwatch.percentile(klingwatch.merge_durations(durations), 0.95) from klingwatch.report_daily where day > klingwatch.report_day() - 7`},
	{"metadata", "report_by_metadata, all days, summarized", `select * from klingwatch.report_by_metadata('customer')`},
	{"report_in_flight", "report_in_flight, all", `select * from klingwatch.report_in_flight`},
	{"report_outputs", "report_outputs, those that expire within a day", `select * from klingwatch.report_outputs where expires_at between now() and now() + interval '1 day'`},
	{"report_webhooks", "report_webhooks, all", `select * from klingwatch.report_webhooks`},
	{"report_deliveries", "report_deliveries, all", `select * from klingwatch.report_deliveries`},
	{"report_throughput", "report_throughput, the last day", `select * from klingwatch.report_throughput`},
}

// countRows reads everything that a query returns.
func countRows(ctx context.Context, d *bench.Database, sql string) (n int, err error) {
	rows, err := d.Query(ctx, sql)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}
