package metrics

import (
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// WatchPool adds the metrics of the process's database connections.
func (m *Metrics) WatchPool(pool *pgxpool.Pool) { m.pool.pool.Store(pool) }

// poolCollector reads the pool when Prometheus scrapes; without a pool it has no
// metrics.
type poolCollector struct {
	pool                             atomic.Pointer[pgxpool.Pool]
	connections, limit, count, waits *prometheus.Desc
}

func newPoolCollector() *poolCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("klingwatch_db_"+name, help, labels, nil)
	}
	return &poolCollector{
		connections: desc("connections", "Database connections in this process's pool, by state. One more, which holds the process's lock, is outside the pool.", "state"),
		limit:       desc("connections_max", "Most database connections that this process's pool may open."),
		count:       desc("acquires_total", "Connections taken from the pool."),
		waits:       desc("acquire_wait_seconds_total", "Time spent waiting for a connection when none in the pool was idle."),
	}
}

// Describe implements prometheus.Collector.
func (c *poolCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.connections, c.limit, c.count, c.waits} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *poolCollector) Collect(metrics chan<- prometheus.Metric) {
	pool := c.pool.Load()
	if pool == nil {
		return
	}
	s := pool.Stat()
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	send(c.connections, prometheus.GaugeValue, float64(s.AcquiredConns()), "acquired")
	send(c.connections, prometheus.GaugeValue, float64(s.IdleConns()), "idle")
	send(c.connections, prometheus.GaugeValue, float64(s.ConstructingConns()), "constructing")
	send(c.limit, prometheus.GaugeValue, float64(s.MaxConns()))
	send(c.count, prometheus.CounterValue, float64(s.AcquireCount()))
	send(c.waits, prometheus.CounterValue, s.EmptyAcquireWaitTime().Seconds())
}
