package klingwatch_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// What two processes served in the last hours, by series without job and
// instance, in Prometheus's notation: first value, growth per minute, minutes.
type history map[string]string

const (
	hours   = 3 * time.Hour
	growing = "0+60x180" // one per second; a time that goes on
	still   = "0x180"
	gone    = "_x180"
)

// healthy is a deployment in which all is well: everything that is served, and
// nothing of it grows but what should.
func healthy(t *testing.T) history {
	t.Helper()
	h := history{}
	for _, m := range readMetrics(t) {
		switch {
		case m.kind == "histogram":
			for _, le := range []string{"0.1", "60", "300", "+Inf"} {
				h[fmt.Sprintf("%s_bucket{le=%q}", m.name, le)] = growing
			}
			h[m.name+"_sum"], h[m.name+"_count"] = "0+1x180", growing
		case m.label == "":
			h[m.name] = still
		default:
			for _, value := range append(m.values, map[bool][]string{true: {"v1.2.3"}}[m.values == nil]...) {
				h[fmt.Sprintf("%s{%s=%q}", m.name, m.label, value)] = still
			}
		}
	}
	for _, series := range []string{
		`klingwatch_polls_total{outcome="unchanged"}`, `klingwatch_polls_total{outcome="finished"}`, `klingwatch_status_changes_total{status="succeeded"}`,
		`klingwatch_webhook_attempts_total{result="delivered"}`, "klingwatch_db_acquires_total", "klingwatch_last_sweep_timestamp_seconds",
	} {
		h[series] = growing
	}
	h[`klingwatch_open_tasks{status="processing"}`] = "100x180"
	h["klingwatch_db_connections_max"] = "20x180"
	return h
}

// situations are what each alert is for: what differs from a healthy deployment.
var situations = map[string]history{
	"KlingwatchDown":          {`klingwatch_build_info{version="v1.2.3"}`: gone},
	"KlingwatchSweepStuck":    {"klingwatch_last_sweep_timestamp_seconds": "0+60x170 10200x10"},
	"KlingwatchProcessStuck":  {`klingwatch_last_sweep_timestamp_seconds{instance="a"}`: "0+60x170 10200x10"},
	"KlingwatchPollingPaused": {`klingwatch_polling_paused{instance="a"}`: "1x180"},
	"KlingwatchNothingAsked": {
		`klingwatch_polls_total{outcome="unchanged"}`: "9x180", `klingwatch_polls_total{outcome="finished"}`: "9x180",
	},
	"KlingwatchTasksOverdue":      {"klingwatch_overdue_tasks": "7x180", "klingwatch_overdue_oldest_seconds": growing},
	"KlingwatchRelayFails":        {`klingwatch_polls_total{outcome="unreachable"}`: "0+300x180"},
	"KlingwatchThrottled":         {`klingwatch_polls_total{outcome="throttled"}`: growing},
	"KlingwatchPollsLate":         {`klingwatch_poll_lateness_seconds_bucket{le="0.1"}`: still, `klingwatch_poll_lateness_seconds_bucket{le="60"}`: still},
	"KlingwatchTasksExpire":       {`klingwatch_status_changes_total{status="expired"}`: growing},
	"KlingwatchUnknownStatusWord": {`klingwatch_unknown_status_words_total{instance="b"}`: "0x150 1x30"},
	"KlingwatchJobsVanish":        {"klingwatch_missing_jobs_total": growing},
	"KlingwatchConnectionsShort":  {`klingwatch_db_acquire_wait_seconds_total{instance="a"}`: "0+180x180"},
	"KlingwatchQueueBloated":      {`klingwatch_table_dead_rows{table="river_job"}`: "0+1000x180"},
	"KlingwatchVersionsDiffer":    {`klingwatch_build_info{version="v1.2.2"}`: "1x180"},

	"KlingwatchReceiverHeldBack": {`klingwatch_webhook_breakers_open{instance="b"}`: "3x180"},
	"KlingwatchEndpointFailing":  {`klingwatch_webhook_endpoints{state="failing"}`: "1x180"},
	"KlingwatchEndpointDisabled": {`klingwatch_webhook_endpoints_disabled_total{instance="a"}`: "0x150 1x30"},
	"KlingwatchWebhooksGivenUp":  {`klingwatch_webhook_exhausted_total{instance="a"}`: "0x150 1x30"},
	"KlingwatchWebhooksLate":     {`klingwatch_webhook_lag_seconds_bucket{le="0.1"}`: still, `klingwatch_webhook_lag_seconds_bucket{le="60"}`: still},
	"KlingwatchWebhooksUnsigned": {`klingwatch_webhook_attempts_total{result="signing_error"}`: growing},
}

// An alert that never fires is worse than none, and so is one that always does.
func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	var known []string
	for _, group := range readAlerts(t).Groups {
		for _, rule := range group.Rules {
			known = append(known, rule.Alert)
			t.Run(rule.Alert, func(t *testing.T) {
				t.Parallel()
				situation, told := situations[rule.Alert]
				if !told {
					t.Fatal("say in situations what it is for")
				}
				if result := ask(t, healthy(t), rule.Expr); len(result) != 0 {
					t.Errorf("it fires while all is well: %v", result)
				}
				sick := healthy(t)
				maps.Copy(sick, situation)
				if result := ask(t, sick, rule.Expr); len(result) == 0 {
					t.Errorf("it does not fire: %v", situation)
				}
			})
		}
	}
	for name := range situations {
		if !slices.Contains(known, name) {
			t.Errorf("%s is no alert any more", name)
		}
	}
}

// Trouble of receivers pages nobody, and a pause is one page, not three.
func TestAlertsKeepQuiet(t *testing.T) {
	t.Parallel()
	groups := readAlerts(t).Groups
	pages := func(h history) (names []string) {
		for _, group := range groups {
			for _, rule := range group.Rules {
				if rule.Labels["severity"] == "page" && len(ask(t, h, rule.Expr)) > 0 {
					names = append(names, rule.Alert)
				}
			}
		}
		return names
	}
	receivers := healthy(t)
	for _, rule := range groups[1].Rules {
		maps.Copy(receivers, situations[rule.Alert])
	}
	if got := pages(receivers); len(got) > 0 {
		t.Errorf("receivers that fail page: %v", got)
	}
	paused := healthy(t)
	for _, name := range []string{"KlingwatchNothingAsked", "KlingwatchTasksOverdue", "KlingwatchPollingPaused"} {
		maps.Copy(paused, situations[name])
	}
	if got := pages(paused); !slices.Equal(got, []string{"KlingwatchPollingPaused"}) {
		t.Errorf("a pause pages by %v", got)
	}
}

// Every query of the dashboard shows something of a deployment in which all is well.
func TestDashboardShowsADeployment(t *testing.T) {
	t.Parallel()
	h := healthy(t)
	h["process_cpu_seconds_total"] = growing
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			if result := ask(t, h, concrete.Replace(target.Expr)); len(result) == 0 {
				t.Errorf("%s: %s shows nothing", panel.Title, target.Expr)
			}
		}
	}
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

// querier serves the samples of the processes a and b. A history with the label
// instance is of that process only, and takes the place of the other's.
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

// floats are the samples of values, one for each minute.
func floats(values []parser.SequenceValue) (points []promql.FPoint) {
	for minute, value := range values {
		if !value.Omitted {
			points = append(points, promql.FPoint{T: (time.Duration(minute) * time.Minute).Milliseconds(), F: value.Value})
		}
	}
	return points
}

// seriesSet goes through series.
type seriesSet struct {
	series []promql.Series
	at     int // one after the current
}

func (s *seriesSet) Next() bool                        { s.at++; return s.at <= len(s.series) }
func (s *seriesSet) At() storage.Series                { return promql.NewStorageSeries(s.series[s.at-1]) }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
