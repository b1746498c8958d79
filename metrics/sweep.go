package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The values of the labels of Sweep.
var (
	OpenStatuses   = []string{"pending", "submitted", "processing"}
	DeliveryStates = []string{"pending", "parked"}
	EndpointStates = []string{"enabled", "failing", "disabled"}
	PrunedRows     = []string{"deliveries", "events", "tasks", "requests", "files"}
	DatabaseStates = []string{DatabaseWritable, DatabaseReadOnly, DatabaseUnreachable}
	Tables         = []string{"tasks", "outputs", "events", "deliveries", "delivery_attempts", "river_job"}
)

// The states of the database.
const (
	DatabaseWritable    = "writable"
	DatabaseReadOnly    = "read_only"
	DatabaseUnreachable = "unreachable"
)

// shared ends the help of a gauge that is read from the database: dashboards and
// alerts use its maximum over the processes, never the sum.
const shared = " Of the deployment: the same in every process."

// Sweep has the metrics of this process's sweep: what it did, how it finds the database,
// and from OpenTasks on what it read there.
type Sweep struct {
	LastSweep    prometheus.Gauge       // unix time of the last successful one
	MissingJobs  prometheus.Counter     // River jobs that were missing and were made again
	ReturnedJobs prometheus.Counter     // jobs taken over from processes that are gone
	Pruned       *prometheus.CounterVec // old rows deleted, by what: PrunedRows

	Database *prometheus.GaugeVec // 1 for the present one of DatabaseStates

	OpenTasks       *prometheus.GaugeVec // by status: OpenStatuses
	OverdueTasks    prometheus.Gauge     // that should have been polled more than a minute ago
	OverdueSeconds  prometheus.Gauge     // age of the most overdue task; 0: none is overdue
	Deliveries      *prometheus.GaugeVec // not delivered yet, by state: DeliveryStates
	Endpoints       *prometheus.GaugeVec // by state: EndpointStates
	Redeliveries    prometheus.Gauge     // bulk redeliveries in progress
	FailingJobs     prometheus.Gauge     // jobs that failed three times within an hour
	OutputsExpiring prometheus.Gauge     // URLs that expire within 3 days
	OutputsExpired  prometheus.Gauge     // URLs that expired within the last day
	TableBytes      *prometheus.GaugeVec // by table: Tables
	DeadRows        *prometheus.GaugeVec // by table: Tables
}

func newSweep(auto promauto.Factory) Sweep {
	return Sweep{
		LastSweep: gauge(auto, "klingwatch_last_sweep_timestamp_seconds",
			"Unix time of this process's last successful sweep; 0 before the first. A sweep runs every 15 s, less often where it takes longer than half a second. The gauges of the deployment are updated as often, also while the database is read only."),
		MissingJobs: counter(auto, "klingwatch_missing_jobs_total",
			"Tasks and deliveries that had lost their River job and were given a new one."),
		ReturnedJobs: counter(auto, "klingwatch_returned_jobs_total",
			"Running jobs taken over from processes that are gone."),
		Pruned: counters(auto, "klingwatch_pruned_total",
			"Deliveries, events about endpoints, tasks, answers of the HTTP API and kept files deleted because their retention was over.", "what", PrunedRows),
		Database: gauges(auto, "klingwatch_database",
			"How this process finds the database: 1 for the state that it is in, 0 for the others. In read_only, after a failover or with a full disk, nothing is polled or sent.", "state", DatabaseStates),
		OpenTasks: gauges(auto, "klingwatch_open_tasks",
			"Tasks that are not terminal, by status."+shared, "status", OpenStatuses),
		OverdueTasks: gauge(auto, "klingwatch_overdue_tasks",
			"Tasks that should have been polled more than a minute ago: never polled since their insertion, or still open after their deadline."+shared),
		OverdueSeconds: gauge(auto, "klingwatch_overdue_oldest_seconds",
			"Age of the most overdue task, counted from its insertion or its deadline; 0 when none is overdue."+shared),
		Deliveries: gauges(auto, "klingwatch_webhook_deliveries",
			"Webhooks that have not arrived yet: pending ones have a next attempt, parked ones wait until their endpoint is enabled."+shared, "state", DeliveryStates),
		Endpoints: gauges(auto, "klingwatch_webhook_endpoints",
			"Webhook endpoints by state. A failing one has not answered with 2xx since a failure; that is its own fault, not klingwatch's."+shared, "state", EndpointStates),
		Redeliveries: gauge(auto, "klingwatch_webhook_redeliveries",
			"Bulk redeliveries in progress."+shared),
		FailingJobs: gauge(auto, "klingwatch_failing_jobs",
			"Jobs that failed three times or more within an hour, for example because Postgres refuses what they write. They are tried again at least every 5 minutes; klingwatch doctor says why they fail."+shared),
		OutputsExpiring: gauge(auto, "klingwatch_outputs_expiring",
			"Output URLs that expire within 3 days."+shared),
		OutputsExpired: gauge(auto, "klingwatch_outputs_expired",
			"Output URLs that expired within the last day; older ones are not counted."+shared),
		TableBytes: gauges(auto, "klingwatch_table_bytes",
			"Size of a table, including its indexes."+shared, "table", Tables),
		DeadRows: gauges(auto, "klingwatch_table_dead_rows",
			"Rows that wait for vacuum, as estimated by Postgres. They pile up while any transaction in the server stays open for a long time."+shared, "table", Tables),
	}
}
