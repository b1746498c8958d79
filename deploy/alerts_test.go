package deploy_test

import (
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func readAlerts(t *testing.T) *rulefmt.RuleGroups {
	t.Helper()
	text, err := os.ReadFile("prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.LegacyValidation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return groups
}

func TestAlertRulesAreCompleteAndUseMetricsThatExist(t *testing.T) {
	t.Parallel()
	metrics, names := readMetrics(t), map[string]bool{}
	for _, group := range readAlerts(t).Groups {
		for _, rule := range group.Rules {
			for _, problem := range queryProblems(metrics, rule.Expr) {
				t.Errorf("%s: %s", rule.Alert, problem)
			}
			if names[rule.Alert] || !strings.HasPrefix(rule.Alert, "Klingwatch") {
				t.Errorf("the name %q is taken, or does not begin with Klingwatch", rule.Alert)
			}
			names[rule.Alert] = true
			severity := rule.Labels["severity"]
			if !slices.Contains([]string{"page", "ticket", "info"}, severity) || len(rule.Labels) != 1 {
				t.Errorf("%s: the severity is %q", rule.Alert, severity)
			}
			if severity == "page" && (rule.For == 0 || strings.Contains(rule.Expr, "klingwatch_webhook_")) {
				t.Errorf("%s: page only for what lasts, and never for the failure of a receiver", rule.Alert)
			}
			if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s: say what is wrong (summary) and what to do (description)", rule.Alert)
			}
		}
	}
}

// situations has for each alert what differs from a healthy deployment when it fires.
var situations = map[string]history{
	"KlingwatchDown":             {`klingwatch_build_info{version="v1.2.3"}`: gone},
	"KlingwatchSweepStuck":       {"klingwatch_last_sweep_timestamp_seconds": "0+60x170 10200x10"},
	"KlingwatchProcessStuck":     {`klingwatch_last_sweep_timestamp_seconds{instance="a"}`: "0+60x170 10200x10"},
	"KlingwatchDatabaseReadOnly": {`klingwatch_database{instance="b",state="read_only"}`: "1x180"},
	"KlingwatchJobsFail":         {"klingwatch_failing_jobs": "1x180"},
	"KlingwatchPollingPaused":    {`klingwatch_polling_paused{instance="a",relay="default"}`: "1x180"},
	"KlingwatchRelayNotAsked":    {`klingwatch_relay_asked{instance="b",relay="default"}`: "0x180"},
	"KlingwatchNothingAsked": {
		`klingwatch_polls_total{outcome="unchanged",relay="default"}`: "9x180", `klingwatch_polls_total{outcome="finished",relay="default"}`: "9x180",
	},
	"KlingwatchTasksOverdue": {"klingwatch_overdue_tasks": "7x180", "klingwatch_overdue_oldest_seconds": growing},
	"KlingwatchRelayFails":   {`klingwatch_polls_total{outcome="unreachable",relay="default"}`: "0+300x180"},
	"KlingwatchThrottled":    {`klingwatch_polls_total{outcome="throttled",relay="default"}`: growing},
	"KlingwatchPollsLate":    {`klingwatch_poll_lateness_seconds_bucket{le="0.1"}`: still, `klingwatch_poll_lateness_seconds_bucket{le="60"}`: still},
	"KlingwatchTasksExpire":  {`klingwatch_status_changes_total{status="expired"}`: growing},
	"KlingwatchTasksFail": {
		`klingwatch_tasks_ended_total{path="videos/effects"}`: growing, `klingwatch_tasks_failed_total{path="videos/effects"}`: "0+30x180",
	},
	"KlingwatchUnknownStatusWord": {`klingwatch_unknown_status_words_total{instance="b"}`: "0x150 1x30"},
	"KlingwatchJobsVanish":        {"klingwatch_missing_jobs_total": growing},
	"KlingwatchConnectionsShort":  {`klingwatch_db_acquire_wait_seconds_total{instance="a"}`: "0+180x180"},
	"KlingwatchQueueBloated":      {`klingwatch_table_dead_rows{table="river_job"}`: "0+1000x180"},
	"KlingwatchVersionsDiffer":    {`klingwatch_build_info{version="v1.2.2"}`: "1x180"},

	"KlingwatchFilesExpire": {"klingwatch_archive_expiring": "2x180"},

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
	var names []string
	for _, group := range readAlerts(t).Groups {
		for _, rule := range group.Rules {
			names = append(names, rule.Alert)
			t.Run(rule.Alert, func(t *testing.T) {
				t.Parallel()
				situation, known := situations[rule.Alert]
				if !known {
					t.Fatal("add to situations when it fires")
				}
				if result := ask(t, healthy(t), rule.Expr); len(result) != 0 {
					t.Errorf("it fires in a healthy deployment: %v", result)
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
		if !slices.Contains(names, name) {
			t.Errorf("%s is not an alert", name)
		}
	}
}

// One unlucky task of a path that is seldom used is no share worth a ticket, nor is the
// usual share of prompts that are refused; a busy path does not hide another.
func TestTheShareOfFailuresIsOfOnePathWithEnoughTasks(t *testing.T) {
	t.Parallel()
	var expr string
	for _, rule := range readAlerts(t).Groups[0].Rules {
		if rule.Alert == "KlingwatchTasksFail" {
			expr = rule.Expr
		}
	}
	for _, test := range []struct {
		about, ended, failed string
		fires                bool
	}{
		{"three failures of three tasks", "0x150 3x30", "0x150 3x30", false},
		{"one in ten of many", growing, "0+6x180", false},
		{"half of a few", "0+1x180", "0+0.5x180", true},
	} {
		h := healthy(t)
		h[`klingwatch_tasks_ended_total{path="images/generations"}`] = "0+6000x180"
		h[`klingwatch_tasks_ended_total{path="audio/text-to-audio"}`] = test.ended
		h[`klingwatch_tasks_failed_total{path="audio/text-to-audio"}`] = test.failed
		result := ask(t, h, expr)
		if fires := len(result) > 0; fires != test.fires {
			t.Errorf("%s: %v, want that it fires: %v", test.about, result, test.fires)
		}
		if test.fires && len(result) == 1 && result[0].Metric.Get("path") != "audio/text-to-audio" {
			t.Errorf("%s: it names the path %v", test.about, result[0].Metric)
		}
	}
}

func TestReceiversPageNobodyAndAPauseIsOnePage(t *testing.T) {
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
