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
	PrunedRows     = []string{"deliveries", "events", "tasks"}
	Tables         = []string{"tasks", "outputs", "events", "deliveries", "delivery_attempts", "river_job"}
)

// Shared ends the help of a gauge that is read from the database: dashboards
// and alerts take its maximum over the processes, never the sum.
const Shared = " Of the deployment: the same in every process."

// Sweep tells of the regular work of this process, and what it found in the
// database.
type Sweep struct {
	LastSweep    prometheus.Gauge       // unix time of the last one that went well
	MissingJobs  prometheus.Counter     // jobs that the sweep had to give
	ReturnedJobs prometheus.Counter     // jobs taken over from instances that are gone
	Pruned       *prometheus.CounterVec // old rows deleted, by what: PrunedRows

	OpenTasks       *prometheus.GaugeVec // by status: OpenStatuses
	OverdueTasks    prometheus.Gauge
	OverdueSeconds  prometheus.Gauge     // of the task that is overdue the longest; 0: none is
	Deliveries      *prometheus.GaugeVec // still to arrive, by state: DeliveryStates
	Endpoints       *prometheus.GaugeVec // by state: EndpointStates
	Redeliveries    prometheus.Gauge     // bulk redeliveries under way
	OutputsExpiring prometheus.Gauge
	OutputsExpired  prometheus.Gauge
	TableBytes      *prometheus.GaugeVec // by table: Tables
	DeadRows        *prometheus.GaugeVec // by table: Tables
}

func newSweep(auto promauto.Factory) Sweep {
	return Sweep{
		LastSweep: gauge(auto, "klingwatch_last_sweep_timestamp_seconds",
			"When the last sweep of this process went well, unix time; 0 before the first. It is made every 15 s and brings all gauges of the deployment up to date."),
		MissingJobs: counter(auto, "klingwatch_missing_jobs_total",
			"River jobs that were gone and given anew to their tasks and deliveries."),
		ReturnedJobs: counter(auto, "klingwatch_returned_jobs_total",
			"Running jobs taken over from instances that are gone."),
		Pruned: counters(auto, "klingwatch_pruned_total",
			"Deliveries, events about endpoints and tasks deleted because they ended longer ago than their retention.", "what", PrunedRows),
		OpenTasks: gauges(auto, "klingwatch_open_tasks",
			"Tasks that are not terminal, by status."+Shared, "status", OpenStatuses),
		OverdueTasks: gauge(auto, "klingwatch_overdue_tasks",
			"Tasks that should have been asked more than a minute ago: never asked since their insertion, or open after their deadline."+Shared),
		OverdueSeconds: gauge(auto, "klingwatch_overdue_oldest_seconds",
			"How long the task that is overdue the longest is so, since its insertion or deadline; 0 when none is overdue."+Shared),
		Deliveries: gauges(auto, "klingwatch_webhook_deliveries",
			"Webhooks that have not arrived yet: pending ones have a next attempt, parked ones wait for their endpoint to be enabled."+Shared, "state", DeliveryStates),
		Endpoints: gauges(auto, "klingwatch_webhook_endpoints",
			"Webhook endpoints by state; a failing one has had no 2xx since a failure. A receiver's failure is not klingwatch's."+Shared, "state", EndpointStates),
		Redeliveries: gauge(auto, "klingwatch_webhook_redeliveries",
			"Bulk redeliveries under way."+Shared),
		OutputsExpiring: gauge(auto, "klingwatch_outputs_expiring",
			"Output URLs that expire within 3 days."+Shared),
		OutputsExpired: gauge(auto, "klingwatch_outputs_expired",
			"Output URLs that expired within the last day; those before are not counted."+Shared),
		TableBytes: gauges(auto, "klingwatch_table_bytes",
			"Size of a table with its indexes."+Shared, "table", Tables),
		DeadRows: gauges(auto, "klingwatch_table_dead_rows",
			"Rows that wait for vacuum, as Postgres estimates. They grow while a transaction is open for long anywhere in the server."+Shared, "table", Tables),
	}
}
