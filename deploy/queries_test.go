package deploy_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// metric is a row of docs/metrics.md, which a test of the package metrics compares
// with what is served.
type metric struct {
	name, kind string
	label      string   // beside relay; "" for none
	relays     bool     // it has the label relay
	values     []string // all values of the label; none: any
	shared     bool     // the same in every process
}

// readMetrics reads the page, and adds some metrics of every Go process.
func readMetrics(t *testing.T) map[string]metric {
	t.Helper()
	metrics := map[string]metric{}
	for line := range strings.Lines(read(t, "../docs/metrics.md")) {
		cells := strings.Split(strings.Trim(line, "|\n "), " | ")
		if len(cells) != 4 || !strings.HasPrefix(cells[0], "`") {
			continue
		}
		m := metric{name: strings.Trim(cells[0], "`"), kind: cells[1], shared: strings.Contains(cells[3], "the same in every process")}
		labels, _, found := strings.Cut(cells[2], "`relay`: its name")
		m.relays = found
		for i, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(labels, -1) {
			if i == 0 {
				m.label = quoted[1]
			} else {
				m.values = append(m.values, quoted[1])
			}
		}
		metrics[m.name] = m
	}
	if len(metrics) < 30 {
		t.Fatalf("found only %d metrics in docs/metrics.md", len(metrics))
	}
	for name, kind := range map[string]string{"process_cpu_seconds_total": "counter", "go_memstats_sys_bytes": "gauge", "go_goroutines": "gauge"} {
		metrics[name] = metric{name: name, kind: kind}
	}
	return metrics
}

// targetLabels are the labels that Prometheus adds.
var targetLabels = []string{"job", "instance"}

// find returns the metric of a series; part is the suffix of a histogram's series.
func find(metrics map[string]metric, series string) (m metric, part string, found bool) {
	if m, found = metrics[series]; found {
		return m, "", m.kind != "histogram"
	}
	for _, part := range []string{"_bucket", "_sum", "_count"} {
		if name, cut := strings.CutSuffix(series, part); cut && metrics[name].kind == "histogram" {
			return metrics[name], part, true
		}
	}
	return metric{}, "", false
}

// queryProblems returns what in a query is not served, or is used in a way that makes
// no sense.
func queryProblems(metrics map[string]metric, query string) (problems []string) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return []string{err.Error()}
	}
	known := slices.Clone(targetLabels)
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		m, part, found := find(metrics, selector.Name)
		if !found {
			complain("%s is not served", selector.Name)
			return nil
		}
		known = append(known, m.label)
		if m.relays {
			known = append(known, "relay")
		}
		if part == "_bucket" {
			known = append(known, "le")
		}
		for _, matcher := range selector.LabelMatchers {
			if problem := matcherProblem(m, matcher); problem != "" {
				complain("%s: %s", selector.Name, problem)
			}
		}
		if rated := argumentOf(path, "rate", "increase"); rated != (m.kind != "gauge") {
			complain("%s is a %s: counters and histograms need rate or increase, gauges must not have them", selector.Name, m.kind)
		}
		if m.shared && nearest(path) != parser.MAX {
			complain("%s is the same in every process: use max", selector.Name)
		}
		return nil
	})
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if aggregate, ok := node.(*parser.AggregateExpr); ok {
			for _, label := range aggregate.Grouping {
				if !slices.Contains(known, label) {
					complain("nothing has the label %s", label)
				}
			}
		}
		return nil
	})
	return problems
}

// matcherProblem returns what is wrong with a label or its value, "" for nothing.
func matcherProblem(m metric, matcher *labels.Matcher) string {
	switch {
	case matcher.Name == model.MetricNameLabel || slices.Contains(targetLabels, matcher.Name):
		return ""
	case matcher.Name != m.label:
		return "it has no label " + matcher.Name
	}
	for value := range strings.SplitSeq(matcher.Value, "|") {
		if !slices.Contains(m.values, value) {
			return fmt.Sprintf("%s is never %q", m.label, value)
		}
	}
	return ""
}

// argumentOf reports whether a selector is an argument of one of the functions.
func argumentOf(path []parser.Node, functions ...string) bool {
	return slices.ContainsFunc(path, func(node parser.Node) bool {
		call, ok := node.(*parser.Call)
		return ok && slices.Contains(functions, call.Func.Name)
	})
}

// nearest returns the innermost aggregation around a selector.
func nearest(path []parser.Node) parser.ItemType {
	for _, node := range slices.Backward(path) {
		if aggregate, ok := node.(*parser.AggregateExpr); ok {
			return aggregate.Op
		}
	}
	return 0
}

// The check is useless if it lets a wrong query pass.
func TestWrongQueriesAreFound(t *testing.T) {
	t.Parallel()
	metrics := readMetrics(t)
	for query, want := range map[string]string{
		`sum(rate(klingwatch_polls_total{outcome="finished", job="x"}[5m]))`: "",
		`max by (status) (klingwatch_open_tasks)`:                            "",
		`sum by (le) (rate(klingwatch_poll_lateness_seconds_bucket[5m]))`:    "",
		`sum(rate(klingwatch_pools_total[5m]))`:                              "klingwatch_pools_total is not served",
		`rate(klingwatch_poll_lateness_seconds[5m])`:                         "klingwatch_poll_lateness_seconds is not served",
		`rate(klingwatch_polls_total_bucket[5m])`:                            "klingwatch_polls_total_bucket is not served",
		`rate(klingwatch_polls_total{result="x"}[5m])`:                       "it has no label result",
		`rate(klingwatch_polls_total{outcome=~"finished|done"}[5m])`:         `outcome is never "done"`,
		`sum by (status) (rate(klingwatch_polls_total[5m]))`:                 "nothing has the label status",
		`klingwatch_polls_total > 5`:                                         "counters and histograms need rate or increase",
		`increase(klingwatch_polling_paused[5m])`:                            "counters and histograms need rate or increase",
		`sum(klingwatch_open_tasks)`:                                         "use max",
		`sum(`:                                                               "unclosed left parenthesis",
	} {
		got := strings.Join(queryProblems(metrics, query), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}
