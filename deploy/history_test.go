package deploy_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// history is what two processes served in the last hours: for each series, without
// job and instance, the values in the notation of Prometheus (first value, growth per
// minute, minutes).
type history map[string]string

const (
	hours   = 3 * time.Hour
	growing = "0+60x180" // by one a second
	still   = "0x180"
	gone    = "_x180"
)

// healthy returns the history of a healthy deployment: every metric is served, and
// only those grow that should.
func healthy(t *testing.T) history {
	t.Helper()
	h := history{}
	for _, m := range readMetrics(t) {
		relay := ""
		if m.relays {
			relay = `relay="default"`
		}
		switch {
		case m.kind == "histogram":
			for _, le := range []string{"0.1", "60", "300", "+Inf"} {
				h[fmt.Sprintf("%s_bucket{le=%q}", m.name, le)] = growing
			}
			h[m.name+"_sum"], h[m.name+"_count"] = "0+1x180", growing
		case m.label == "" && relay == "":
			h[m.name] = still
		case m.label == "":
			h[m.name+"{"+relay+"}"] = still
		default:
			for _, value := range append(m.values, map[bool][]string{true: {"v1.2.3"}}[m.values == nil]...) {
				h[strings.Replace(fmt.Sprintf("%s{%s=%q,%s}", m.name, m.label, value, relay), ",}", "}", 1)] = still
			}
		}
	}
	for _, series := range []string{
		`klingwatch_polls_total{outcome="unchanged",relay="default"}`, `klingwatch_polls_total{outcome="finished",relay="default"}`, `klingwatch_status_changes_total{status="succeeded"}`,
		`klingwatch_webhook_attempts_total{result="delivered"}`, "klingwatch_db_acquires_total", "klingwatch_last_sweep_timestamp_seconds",
	} {
		h[series] = growing
	}
	h[`klingwatch_open_tasks{status="processing"}`] = "100x180"
	h["klingwatch_db_connections_max"] = "20x180"
	h[`klingwatch_database{state="writable"}`] = "1x180"
	h[`klingwatch_relay_asked{relay="default"}`] = "1x180"
	return h
}

// ask evaluates a query at the end of a history.
func ask(t *testing.T, h history, query string) promql.Vector {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: parser.NewParser(parser.Options{})})
	q, err := engine.NewInstantQuery(t.Context(), &storage.MockQueryable{MockQuerier: h.querier(t)}, nil, query, time.Unix(0, 0).Add(hours))
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer q.Close()
	result := q.Exec(context.Background())
	vector, err := result.Vector()
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return slices.Clone(vector)
}

// querier serves the samples of the processes a and b. A series with the label
// instance is for that process only, and replaces the one for both.
func (h history) querier(t *testing.T) storage.Querier {
	t.Helper()
	all := map[string]promql.Series{}
	add := func(metric labels.Labels, instance string, floats []promql.FPoint) {
		metric = labels.NewBuilder(metric).Set("job", "klingwatch").Set("instance", instance).Labels()
		all[metric.String()] = promql.Series{Metric: metric, Floats: floats}
	}
	for _, ofOne := range []bool{false, true} {
		for series, notation := range h {
			metric, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(series + " " + notation)
			if err != nil {
				t.Fatalf("%s %s: %v", series, notation, err)
			}
			switch {
			case metric.Has("instance") != ofOne:
			case ofOne:
				add(metric, metric.Get("instance"), floats(values))
			default:
				add(metric, "a", floats(values))
				add(metric, "b", floats(values))
			}
		}
	}
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		found := &seriesSet{}
		for _, key := range slices.Sorted(maps.Keys(all)) {
			s := all[key]
			if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Metric.Get(m.Name)) }) {
				found.series = append(found.series, s)
			}
		}
		return found
	}}
}

// floats returns the samples of values, one for each minute.
func floats(values []parser.SequenceValue) (points []promql.FPoint) {
	for minute, value := range values {
		if !value.Omitted {
			points = append(points, promql.FPoint{T: (time.Duration(minute) * time.Minute).Milliseconds(), F: value.Value})
		}
	}
	return points
}

// seriesSet iterates over series.
type seriesSet struct {
	series []promql.Series
	at     int // the index after the current one
}

func (s *seriesSet) Next() bool                        { s.at++; return s.at <= len(s.series) }
func (s *seriesSet) At() storage.Series                { return promql.NewStorageSeries(s.series[s.at-1]) }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
