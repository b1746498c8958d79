package worker

import (
	"context"
	"errors"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/metrics"
)

const (
	// observeEvery sweep intervals the backlogs are counted; the state of the database is
	// looked at every time.
	observeEvery = 3
	// pingTimeout bounds the look at the database.
	pingTimeout = 3 * time.Second
	// measureTimeout bounds the counting for the metrics: a database that is short of
	// breath has more urgent work.
	measureTimeout = 5 * time.Second
)

// observe keeps the gauges that are read from the database up to date, until ctx ends:
// also while nothing can be worked on, since that is when people look at them.
func (w *Worker) observe(ctx context.Context) {
	regularly(ctx, w.cfg.SweepInterval, func(n int) {
		state := w.databaseState(ctx)
		for _, known := range metrics.DatabaseStates {
			w.cfg.Metrics.Database.WithLabelValues(known).Set(map[bool]float64{true: 1}[known == state])
		}
		if n%observeEvery == 0 && state != metrics.DatabaseUnreachable {
			if err := w.measure(ctx); err != nil && ctx.Err() == nil {
				w.cfg.Log.Warn("counting for the metrics, trying again", "error", err)
			}
		}
	})
}

// databaseState asks whether the database accepts writes.
func (w *Worker) databaseState(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	switch err := db.Ping(ctx, w.cfg.Pool); {
	case err == nil:
		return metrics.DatabaseWritable
	case errors.Is(err, db.ErrReadOnly):
		return metrics.DatabaseReadOnly
	}
	return metrics.DatabaseUnreachable
}

// measure counts backlogs and sizes, also in a database that is read only.
func (w *Worker) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	return db.Look(ctx, w.cfg.Pool, func(q db.Querier) error {
		figures, err := db.Stats(ctx, q, Limits)
		if err == nil {
			setGauges(w.cfg.Metrics, figures)
		}
		return err
	})
}

// setGauges puts figures into the gauges.
func setGauges(m *metrics.Metrics, f db.Figures) {
	m.OpenTasks.WithLabelValues(db.Pending).Set(float64(f.Pending))
	m.OpenTasks.WithLabelValues(db.Submitted).Set(float64(f.Submitted))
	m.OpenTasks.WithLabelValues(db.Processing).Set(float64(f.Processing))
	m.OverdueTasks.Set(float64(f.Overdue))
	m.OverdueSeconds.Set(f.OverdueSeconds)

	m.Deliveries.WithLabelValues("pending").Set(float64(f.DeliveriesPending))
	m.Deliveries.WithLabelValues("parked").Set(float64(f.DeliveriesParked))
	m.Endpoints.WithLabelValues("enabled").Set(float64(f.EndpointsEnabled))
	m.Endpoints.WithLabelValues("failing").Set(float64(f.EndpointsFailing))
	m.Endpoints.WithLabelValues("disabled").Set(float64(f.EndpointsDisabled))
	m.Redeliveries.Set(float64(f.Redeliveries))
	m.FailingJobs.Set(float64(f.FailingJobs))

	m.OutputsExpiring.Set(float64(f.OutputsExpiring))
	m.OutputsExpired.Set(float64(f.OutputsExpired))
	m.ArchiveWaiting.Set(float64(f.ArchiveWaiting))
	m.ArchiveOldest.Set(f.ArchiveOldest)
	m.ArchiveExpiring.Set(float64(f.ArchiveExpiring))

	for _, t := range f.Tables {
		m.TableBytes.WithLabelValues(t.Table).Set(float64(t.Bytes))
		m.DeadRows.WithLabelValues(t.Table).Set(float64(t.Dead))
	}
}
