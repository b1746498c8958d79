package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// TestMain makes this test binary be a child of klingbench when it is started
// as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// The figures that the targets are about, and those that they are ratios of.
var pollFigures = []string{
	"http_polls_per_second", "naive_polls_per_second", "polls_per_second", "part_of_http_limit", "times_naive",
	"wal_per_poll", "wal_per_poll_longer", "naive_wal_per_poll",
	"http_cpu_per_poll", "naive_cpu_per_poll", "klingwatch_cpu_per_poll", "klingwatch_postgres_cpu_per_poll",
	"few_polls_per_second", "few_cpu_per_poll", "many_polls_per_second", "many_cpu_per_poll", "cpu_many_to_few",
	"memory_per_task", "memory_idle",
}

var webhookFigures = []string{
	"completions_per_second", "webhook_latency_p50", "webhook_latency_p99", "isolation_p99", "isolation", "isolation_trouble",
	"bare_deliveries_per_second", "deliveries_per_second", "part_of_bare", "attempts_per_delivery", "wal_per_delivery",
	"bare_cpu_per_delivery", "klingwatch_cpu_per_delivery", "klingwatch_postgres_cpu_per_delivery",
	"drip_idle", "drip_memory", "drip_memory_per_receiver", "drip_in_flight",
}

func TestPollTellsAllFigures(t *testing.T) {
	t.Parallel()
	table := checkFigures(t, pollFigures, "poll", "--tasks=100", "--polls=3")
	if !strings.Contains(table, "klingwatch : naive River") || !strings.Contains(table, ">= 1.7") {
		t.Errorf("the table lacks something:\n%s", table)
	}
}

func TestWebhookTellsAllFigures(t *testing.T) {
	t.Parallel()
	table := checkFigures(t, webhookFigures, "webhook")
	if !strings.Contains(table, "klingwatch : webhook client alone") || !strings.Contains(table, ">= 0.25") {
		t.Errorf("the table lacks something:\n%s", table)
	}
}

func TestReportTellsAllFigures(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{"summarize", "refresh", "report_daily", "report_failures", "report_in_flight", "report_outputs", "report_webhooks", "report_throughput"}, "report")
}

func TestSoakTellsAllFigures(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{"tasks_ended", "tasks_size", "tasks_growth", "river_job_growth", "deliveries_growth"}, "soak", "--half=1s")
}

// checkFigures measures quickly, looks for figures and returns the table.
func checkFigures(t *testing.T, names []string, command string, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := run(append([]string{command, "--quick", "--json", "--fsync=off"}, args...), &out, &errOut); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &errOut)
	}
	var d figures.Document
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatalf("%s in %q", err, &out)
	}
	if d.Command != command || !d.Quick || d.Date.IsZero() || d.Machine.Cores < 1 || d.Machine.Go == "" || d.Machine.Postgres == "" || d.Postgres["fsync"] != "off" {
		t.Errorf("the head of the document is incomplete: %+v", d)
	}
	for _, name := range names {
		i := slices.IndexFunc(d.Figures, func(f figures.Figure) bool { return f.Name == name })
		switch {
		case i < 0:
			t.Errorf("there is no figure %s", name)
		case d.Figures[i].Value <= 0 && name != "memory_per_task": // too few tasks to show in the memory
			t.Errorf("%s is %v", name, d.Figures[i].Value)
		case (d.Figures[i].Target == nil) != (d.Figures[i].Reached == nil):
			t.Errorf("%s has a target or a verdict, but not both", name)
		}
	}
	return errOut.String()
}

func TestScheduleTellsEverySpread(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	if code := run([]string{"schedule", "--quick", "--json"}, &out, &errOut); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &errOut)
	}
	var d figures.Document
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatalf("%s in %q", err, &out)
	}
	targets := 0
	for _, f := range d.Figures {
		if f.Target != nil && f.Value > 0 {
			targets++
		}
	}
	if targets != len(spreads) {
		t.Errorf("%d figures with a target, want %d", targets, len(spreads))
	}
}

func TestLatenessJoinsTheNthQuestionWithTheNthArrival(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	at := func(d time.Duration) int64 { return begun.Add(d).UnixNano() }
	const ms = time.Millisecond
	f := flown{
		usage: usage{at: begun.Add(100 * ms), elapsed: 100 * ms},
		polls: []poll{
			{Task: 1, Due: at(-5 * ms), Begun: at(-4 * ms)}, // before the window
			{Task: 1, Due: at(10 * ms), Begun: at(11 * ms)},
			{Task: 2, Due: at(20 * ms), Begun: at(20 * ms)},
		},
		arrivals: []arrival{{1, at(-3 * ms)}, {2, at(24 * ms)}, {1, at(12 * ms)}},
	}
	late, err := f.lateness()
	if err != nil || !slices.Equal(late.arrived, []float64{2, 4}) || !slices.Equal(late.begun, []float64{1, 0}) {
		t.Errorf("got %+v, %v", late, err)
	}
	f.arrivals[2].At = at(5 * ms)
	if _, err := f.lateness(); err == nil {
		t.Error("an arrival before its question was accepted")
	}
}

func TestLatencyCountsFromTheCommitsReturnUnlessTheWebhookWasQuicker(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	begun := time.Now()
	c := completion{committing: begun, committed: begun.Add(5 * ms)}
	for arrived, want := range map[time.Duration]time.Duration{9 * ms: 4 * ms, 3 * ms: 3 * ms} {
		if got := c.latency(begun.Add(arrived).UnixNano()); got != want {
			t.Errorf("an arrival %s after the commit was sent counts as %s, want %s", arrived, got, want)
		}
	}
}
