package metrics

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

const metricsDoc = "../docs/metrics.md"

// openLabels are not closed sets: their one value belongs to the process.
var openLabels = map[string]string{"version": "of the binary"}

// watching returns metrics that know a pool; it opens no connection.
func watching(t *testing.T) *Metrics {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none?pool_max_conns=7")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	m := New()
	m.WatchPool(pool)
	m.Build.WithLabelValues("v1.2.3").Set(1)
	return m
}

// ours are the metrics that begin with the service's name, sorted.
func ours(t *testing.T, m *Metrics) []*dto.MetricFamily {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var own []*dto.MetricFamily
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "klingwatch_") {
			own = append(own, family)
		}
	}
	return own
}

// The page of the docs is what a process serves from its start.
func TestTheTableOfMetricsIsWhatIsServed(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`# Metrics

Made by ` + "`make generate`" + ` from what ` + "`GET /metrics`" + ` serves. Times are seconds, sizes bytes. All values of a label are listed and served
from the start. Of a metric that is "of the deployment" take the maximum over the processes; the others are of one process, and counters add up.
Beside these there are the usual ones of the Go runtime and the process (` + "`go_*`, `process_*`" + `). A histogram ` + "`x`" + ` is served as
` + "`x_bucket`, `x_sum` and `x_count`. [`deploy/`](../deploy)" + ` has a dashboard and alert rules that use them.

| name | type | labels | meaning |
|---|---|---|---|
`)
	for _, family := range ours(t, watching(t)) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", family.GetName(), strings.ToLower(family.GetType().String()), labels(family), family.GetHelp())
	}
	if *update {
		if err := os.WriteFile(metricsDoc, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(metricsDoc)
	if err != nil || string(want) != b.String() {
		t.Errorf("%s is old (%v): run make generate, and read the difference", metricsDoc, err)
	}
}

// labels lists a metric's labels, which are one at most, with its values.
func labels(family *dto.MetricFamily) string {
	var name string
	var values []string
	for _, metric := range family.GetMetric() {
		for _, label := range metric.GetLabel() {
			name = label.GetName()
			values = append(values, "`"+label.GetValue()+"`")
		}
	}
	switch {
	case name == "":
		return ""
	case openLabels[name] != "":
		return fmt.Sprintf("`%s`: %s", name, openLabels[name])
	}
	return fmt.Sprintf("`%s`: %s", name, strings.Join(values, ", "))
}

func TestMetricsFollowTheRulesOfPrometheus(t *testing.T) {
	t.Parallel()
	families := ours(t, watching(t))
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	for _, family := range families {
		if len(family.GetMetric()[0].GetLabel()) > 1 || !strings.HasSuffix(family.GetHelp(), ".") {
			t.Errorf("%s: one label at most, and a sentence as help", family.GetName())
		}
	}
}

func TestAPoolIsToldOfOnceItIsKnown(t *testing.T) {
	t.Parallel()
	scrape := func(m *Metrics) string {
		recorder := httptest.NewRecorder()
		m.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if recorder.Code != http.StatusOK {
			t.Fatalf("%d: %s", recorder.Code, recorder.Body)
		}
		return recorder.Body.String()
	}
	if text := scrape(New()); strings.Contains(text, "klingwatch_db_") {
		t.Error("a pool is told of that nobody gave")
	}
	text := scrape(watching(t))
	for _, want := range []string{
		`klingwatch_db_connections{state="acquired"} 0`, `klingwatch_db_connections{state="idle"} 0`,
		"klingwatch_db_connections_max 7", "klingwatch_db_acquires_total 0", "klingwatch_db_acquire_wait_seconds_total 0",
		`klingwatch_polls_total{outcome="unreadable"} 0`, `klingwatch_open_tasks{status="pending"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("not served: %s", want)
		}
	}
}
