package worker

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/metrics"
)

// measureTimeout bounds the counting for the metrics: on a database that is
// short of breath the sweep has more urgent work.
const measureTimeout = 5 * time.Second

// measure brings the gauges that are read from the database up to date. It is
// the last step of a sweep, which has gone well then.
func (w *Worker) measure(ctx context.Context) error {
	counting, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	f, err := db.Stats(counting, w.Pool)
	if err != nil {
		return err
	}
	show(w.Metrics, f)
	w.Metrics.LastSweep.SetToCurrentTime()
	return nil
}

// show puts figures into the gauges.
func show(m *metrics.Metrics, f db.Figures) {
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

	m.OutputsExpiring.Set(float64(f.OutputsExpiring))
	m.OutputsExpired.Set(float64(f.OutputsExpired))
	for _, t := range f.Tables {
		m.TableBytes.WithLabelValues(t.Table).Set(float64(t.Bytes))
		m.DeadRows.WithLabelValues(t.Table).Set(float64(t.Dead))
	}
}

// awaitRate waits until the rate limit lets one more question through.
func (p *poller) awaitRate(ctx context.Context) error {
	begun := time.Now()
	err := p.limiter.Wait(ctx)
	p.Metrics.RateWaitSeconds.Observe(time.Since(begun).Seconds())
	return err
}
