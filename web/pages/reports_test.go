package pages_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db/reports"
)

// fillReports has something for each report.
func (s *site) fillReports() {
	s.Helper()
	s.exec(`insert into klingwatch.relays (name, base_url, key_source, key_file) values ('east', 'https://east.example', 'key_file', '/key')`)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, relay, external_id, status, created_at, deadline_at, polls, finished_at, status_message) values
		('t-1', 'videos', 'text2video', 'east', repeat('x', 255), 'processing', now() - interval '2 h', now() - interval '1 h', 3, null, ''),
		('t-2', 'videos', 'text2video', 'default', $1, 'failed', now(), now(), 3, now(), $1),
		('t-3', 'videos', 'text2video', 'default', null, 'succeeded', now(), now(), 3, now(), '')`, hostileScript+hostileQuote+hostileRTL)
	s.exec(`insert into klingwatch.outputs (task, kind, position, url, expires_at) values (3, 'video', 0, 'https://cdn.example/' || $1, now() + interval '1 h')`, hostileScript)
	s.exec(`insert into klingwatch.events (event_id, task, sequence, type, payload) values ('msg_1', 2, 1, 'task.failed', '{}')`)
	s.exec(`insert into klingwatch.deliveries (event, url, state, attempts, tries_since, last_error) values (1, 'https://app.example/hook', 'exhausted', 2, now(), $1)`, hostileScript)
}

func TestEveryReportHasAPageAChartAndACSV(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.fillReports()
	en, zh := s.as("read"), s.as("read")
	zh.header.Set("Accept-Language", "zh")
	index := en.sees("/reports", http.StatusOK, "Tasks by day, by what became of them")
	for _, view := range reports.Views {
		path := "/reports/" + view.Name
		index.mustHave(t, http.StatusOK, `href="`+path+`"`)
		got := en.sees(path, http.StatusOK, `<svg class="chart"`, "klingwatch.report_"+view.Name, `data-copy="select *`, path+"/csv", "As a table", `class="num"`)
		got.mustLack(t, hostileScript, hostileQuote)
		zh.sees(path, http.StatusOK, "查看数据表", "全部报表")
		csv := en.sees(path+"/csv", http.StatusOK)
		if media := csv.Header.Get("Content-Type"); media != "text/csv; charset=utf-8" || strings.Count(csv.body, "\n") < 2 {
			t.Errorf("%s/csv: %s\n%s", path, media, csv.body)
		}
	}
	en.sees("/reports/failures", http.StatusOK, `<a href="/tasks/2">2</a>`)
	en.sees("/reports/in_flight?relay=east", http.StatusOK, `<a href="/tasks/1">1</a>`, "relay = &#39;east&#39;")
	en.sees("/reports/in_flight?relay=other", http.StatusOK, "nothing to report")
	en.sees("/reports/daily?days=7", http.StatusOK, `value="7" checked`)
}

func TestWhatAReportIsAskedForMayBeAnything(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.as("read")
	for _, path := range []string{"/reports/daily?days=-1&relay=%27%3B--", "/reports/daily?days=99999999999999999999", "/reports/daily?relay=" + strings.Repeat("x", 4000), "/reports/daily?relay=%3Cscript%3E"} {
		p.sees(path, http.StatusOK, "nothing to report", "Choose a longer range").mustLack(t, "<script>alert", "relay = '<script>")
	}
	p.sees("/reports/tasks", http.StatusNotFound)
	p.sees("/reports/daily%3B/csv", http.StatusNotFound)
	p.sees("/reports", http.StatusOK, "insert into klingwatch.tasks")
}

func TestReportsAreAboutAllApps(t *testing.T) {
	t.Parallel()
	app := start(t).as("app")
	for _, path := range []string{"/reports", "/reports/daily", "/reports/daily/csv"} {
		app.sees(path, http.StatusForbidden, "restricted to one app")
	}
}

func TestTheTableSaysWhatItLeavesOut(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) select 't-' || i, 'videos', 'text2video' from generate_series(1, 203) i`)
	p := s.as("read")
	p.sees("/reports/in_flight", http.StatusOK, "203 rows", "The newest 200 are shown; the CSV has 3 more.")
	if got := p.get("/reports/in_flight/csv"); strings.Count(got.body, "\n") != 204 {
		t.Errorf("the CSV has %d lines", strings.Count(got.body, "\n"))
	}
}
