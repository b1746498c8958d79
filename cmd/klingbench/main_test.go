package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/embeddedpg"
)

// TestMain lets this test binary be a child of klingbench when it is started as
// one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	// Most of a run are windows of time in which the machine has little to do.
	_ = flag.Set("test.parallel", "4")
	code, err := withPostgres(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// postgresDir is the data of the Postgres that the runs share: to make one takes more than
// many of them.
var postgresDir string

// withPostgres calls work while that Postgres runs.
func withPostgres(work func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "klingbench-test-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // the server's user enters it
		return 0, err
	}
	postgresDir = filepath.Join(dir, "postgres")
	server, err := embeddedpg.Start(context.Background(), embeddedpg.Config{
		DataDir: postgresDir, Parameters: map[string]string{"fsync": "off", "shared_buffers": "256MB", "max_connections": "500"},
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	return work(), nil
}

// The figures that the targets are about, and those that they are ratios of.
var pollFigures = []string{
	"http_polls_per_second", "polls_per_second", "part_of_http_limit", "polls_per_second_longer", "part_of_http_limit_longer",
	"tls_http_polls_per_second", "tls_polls_per_second", "tls_part_of_http_limit", "tls_polls_per_second_longer", "tls_part_of_http_limit_longer",
	"naive_polls_per_second", "times_naive", "wal_per_poll", "wal_per_poll_longer", "naive_wal_per_poll", "postgres_cpu_per_task",
	"http_cpu_per_poll", "naive_cpu_per_poll", "klingwatch_cpu_per_poll", "klingwatch_postgres_cpu_per_poll", "tls_klingwatch_cpu_per_poll",
	"batch_http_tasks_per_second", "batch_tasks_per_second", "batch_tasks_per_request", "batch_part_of_http_limit",
	"rationed_single_tasks_per_second", "rationed_batch_tasks_per_second", "batch_to_single",
	"few_polls_per_second", "few_cpu_per_poll", "usual_cpu_per_poll", "many_polls_per_second", "many_cpu_per_poll", "cpu_many_to_few",
	"memory_per_task", "memory_idle",
}

var webhookFigures = []string{
	"completions_per_second", "webhook_latency_p50", "webhook_latency_p99", "isolation_p99", "isolation", "isolation_trouble",
	"bare_deliveries_per_second", "deliveries_per_second", "part_of_bare", "attempts_per_delivery", "wal_per_delivery",
	"bare_cpu_per_delivery", "klingwatch_cpu_per_delivery", "klingwatch_postgres_cpu_per_delivery",
	"restarted_last", "taken_over_last",
	"crowd_few_p50", "crowd_few_p99", "crowd_few_max", "crowd_p50", "crowd_p99", "crowd_max",
	"drip_idle", "drip_memory", "drip_memory_per_receiver", "drip_in_flight",
}

func TestPollPrintsAllFigures(t *testing.T) {
	t.Parallel()
	table := checkFigures(t, pollFigures, "poll", "--tasks=100", "--polls=3")
	if !strings.Contains(table, "klingwatch : naive River") || !strings.Contains(table, ">= 2") {
		t.Errorf("the table is incomplete:\n%s", table)
	}
}

func TestWebhookPrintsAllFigures(t *testing.T) {
	t.Parallel()
	table := checkFigures(t, webhookFigures, "webhook")
	if !strings.Contains(table, "klingwatch : webhook client alone") || !strings.Contains(table, ">= 0.25") {
		t.Errorf("the table is incomplete:\n%s", table)
	}
}

func TestReportPrintsAllFigures(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{"summarize", "refresh", "metadata_read", "metadata_summarize", "report_daily", "report_failures", "week_p95", "metadata", "report_in_flight", "report_outputs", "report_webhooks", "report_deliveries", "report_throughput"}, "report")
}

func TestSoakPrintsAllFigures(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{"tasks_ended", "tasks_size", "tasks_growth", "river_job_growth", "deliveries_growth"}, "soak", "--half=4s")
}

func TestInsertPrintsAllFigures(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{
		"insert_to_poll_p50", "insert_to_poll_p99", "reply_to_webhook_p50", "reply_to_webhook_p99",
		"bare_copy_rows_per_second", "untriggered_copy_rows_per_second", "copy_rows_per_second", "copy_part_of_bare", "copy_to_old", "copy_cpu_to_old",
		"single_inserts_per_second", "single_to_old", "single_cpu_to_old",
	}, "insert", "--singles=5", "--rows=1000")
}

func TestOrderPrintsAllFigures(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{"ordered_completions_per_second", "unordered_completions_per_second", "order_part"}, "order")
}

func TestLatencyPrintsAllFiguresAndDrawsThem(t *testing.T) {
	t.Parallel()
	picture := filepath.Join(t.TempDir(), "latency.svg")
	var names []string
	for _, way := range []string{"fixed", "learned", "batches", "callback"} {
		names = append(names, way+"_mean", way+"_p50", way+"_p99", way+"_requests", way+"_rate")
	}
	checkFigures(t, names, "latency", "--picture="+picture)
	drawn, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(drawn, new(struct{})); err != nil || bytes.Count(drawn, []byte(`class="mean"`)) != 4 {
		t.Errorf("the picture is broken (%v):\n%s", err, drawn)
	}
}

func TestAPIPrintsAllFigures(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{
		"stream_p50", "stream_p99", "stream_returns", "stream_away", "stream_memory", "wait_p50", "wait_p99", "wait_memory", "wait_crowd_max",
		"list_p50", "list_p99", "list_max", "list_status_rare", "list_created_before_absent", "post_ms", "copy_ms", "post_part_of_copy",
		"cancel_seconds", "cancel_late_p99", "callback_p50", "callback_p99",
	}, "api")
}

func TestAPIMeasuresOnlyWhatIsWanted(t *testing.T) {
	t.Parallel()
	d, _ := measure(t, "api", "--quick", "--json", "--only=callback")
	if len(d.Figures) != 2 || d.Figures[0].Name != "callback_p50" {
		t.Errorf("the figures are %+v", d.Figures)
	}
	var out, errOut bytes.Buffer
	if code := run([]string{"api", "--only=nothing"}, &out, &errOut); code != exitError || !strings.Contains(errOut.String(), "try stream, wait") {
		t.Errorf("exit code %d: %s", code, &errOut)
	}
}

func TestArchivePrintsAllFigures(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{
		"copy_mb_per_second", "copy_at_once_mb_per_second", "copy_unsynced_mb_per_second",
		"bare_mb_per_second", "bare_part_of_copy", "kept_mb_per_second", "kept_part_of_copy", "memory_idle", "memory_at_once",
		"picture_stored_p50", "bare_clip_stored_p50", "clip_stored_p50", "clip_stored_p99",
		"beside_mb_per_second", "late_alone_p99", "late_beside_p99", "late_ratio", "webhook_alone_p99", "webhook_beside_p99", "webhook_ratio",
	}, "archive", "--only=throughput,memory,stored,beside")
}

func TestAKillLosesNoWebhook(t *testing.T) {
	t.Parallel()
	d, stderr := measure(t, "webhook", "--quick", "--json", "--only=crash")
	for _, name := range []string{"restarted_lost", "taken_over_lost"} {
		if i := slices.IndexFunc(d.Figures, func(f figures.Figure) bool { return f.Name == name }); i < 0 || d.Figures[i].Value != 0 {
			t.Errorf("%s is missing or not 0:\n%s", name, stderr)
		}
	}
}

// Whether files are lost or doubled is no matter of speed.
func TestArchiveLosesAndDoublesNoFile(t *testing.T) {
	t.Parallel()
	d, stderr := measure(t, "archive", "--quick", "--json", "--only=kill")
	if len(d.Figures) == 0 || d.Figures[0].Name != "kill_stored" {
		t.Errorf("the figures are %+v", d.Figures)
	}
	for _, f := range d.Figures {
		if f.Reached != nil && !*f.Reached {
			t.Errorf("%s is %v:\n%s", f.Name, f.Value, stderr)
		}
	}
}

func TestLatePrintsAllFigures(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{"polls_per_second", "late_p50", "late_p99", "begun_late_p50", "begun_late_p99", "peak_per_second", "cpu_per_poll"},
		"late", "--tasks=100", "--interval=500ms", "--window=2s")
}

func TestCrashPrintsAllFigures(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{"restarted_takeover", "restarted_held", "restarted_peak_per_second", "other_takeover", "other_held", "other_peak_per_second"},
		"crash", "--tasks=20")
}

func TestFleetPrintsAllFigures(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{
		"saturated_1_polls_per_second", "saturated_2_polls_per_second", "saturated_2_to_1", "saturated_2_wal_per_poll", "saturated_2_connections",
		"shared_1_late_p99", "shared_2_late_p99", "shared_2_least_share", "shared_2_peak_per_second", "bound_part_of_rate", "bound_peak_of_rate",
	}, "fleet", "--only=saturated,shared,bound", "--processes=2")
}

func TestFleetChangesAndHoldsManyTasks(t *testing.T) {
	t.Parallel()
	checkFigures(t, []string{
		"killed_takeover", "joined_first_poll_p50", "joined_first_poll_p99", "joined_share_after", "disk_per_task",
		"many_late_p99", "many_memory", "many_size_river_job", "many_jobs_running", "many_restarted",
	}, "fleet", "--only=change,disk,many", "--processes=2")
}

func TestSchedulePrintsEverySpread(t *testing.T) {
	t.Parallel()
	d, _ := measureAlone(t, "schedule", "--quick", "--json")
	var compared []string
	for _, f := range d.Figures {
		if f.Target != nil && f.Value > 0 {
			compared = append(compared, f.Name)
		}
	}
	want := []string{"delay_spread_0.1", "delay_spread_0.2", "delay_spread_0.3", "delay_spread_0.5", "delay_spread_1"}
	if !slices.Equal(compared, want) {
		t.Errorf("the figures with a target are %q, want %q", compared, want)
	}
}

func TestCapacitySaysWhatRunsOutFirst(t *testing.T) {
	t.Parallel()
	d, table := measureAlone(t, "capacity", "--quick", "--json")
	if !slices.ContainsFunc(d.Figures, func(f figures.Figure) bool { return f.Name == "most_batch_20_every_5s_for_1m" && f.Value > 0 }) || !strings.Contains(table, "the limit is rate of the relay") {
		t.Errorf("the table is incomplete:\n%s", table)
	}
}

func TestCheckMeasuresAndCompares(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	code := run([]string{"check", "--only=late", "--file=" + filepath.Join(t.TempDir(), "ratios.json")}, &out, &errOut)
	if code != exitOK || !strings.Contains(out.String(), "peak_per_second") || !strings.Contains(out.String(), "not stored yet") {
		t.Errorf("exit code %d: %s%s", code, &out, &errOut)
	}
}

func TestAnUnknownRoleIsAnError(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	if code := run([]string{"child", "nobody"}, &out, &errOut); code != exitError || !strings.Contains(errOut.String(), `no role "nobody"`) {
		t.Errorf("exit code %d: %s", code, &errOut)
	}
}

// checkFigures measures quickly, looks for figures and returns the table.
func checkFigures(t *testing.T, names []string, command string, args ...string) string {
	t.Helper()
	d, table := measure(t, append([]string{command, "--quick", "--json"}, args...)...)
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
	return table
}

// measure runs klingbench on the shared Postgres and returns the document and what went
// to stderr.
func measure(t *testing.T, args ...string) (d figures.Document, stderr string) {
	t.Helper()
	return measureAlone(t, append(args, "--fsync=off", "--postgres-dir="+postgresDir)...)
}

// measureAlone is measure for what needs no Postgres.
func measureAlone(t *testing.T, args ...string) (d figures.Document, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := run(args, &out, &errOut); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &errOut)
	}
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatalf("%s in %q", err, &out)
	}
	return d, errOut.String()
}
