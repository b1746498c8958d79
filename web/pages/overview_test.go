package pages_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/doctor"
	"github.com/klingwatch/klingwatch/web/pages"
)

func TestTheOverviewOfAnEmptyDatabaseTellsWhatToDo(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.as("read").sees("/", http.StatusOK, "insert into klingwatch.tasks", "klingwatch endpoints add", "Run klingwatch doctor", "No process works on this database", `data-live="/live?view=overview"`)
}

func TestTheOverviewShowsWhatRunsNow(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.relays (name, base_url, key_source, key_file, credential, poll_rate) values ('east', 'https://east.example', 'key_file', '/key', 'cred-1', 2)`)
	s.exec(`insert into klingwatch.polling_pauses (credential, reason, probe_at, confirmed) values ('cred-1', $1, now() + interval '1 min', true)`, "401 "+hostileScript)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, relay, status, created_at, polls, last_error, finished_at, status_message) values
		('t-1', 'videos', 'text2video', 'east', 'pending', now() - interval '5 min', 0, 'nothing answers', null, ''),
		('t-2', 'videos', 'text2video', 'east', 'processing', now(), 3, null, null, ''),
		('t-3', 'videos', 'text2video', 'east', 'failed', now(), 3, null, now(), $1)`, hostileScript+hostileQuote+hostileRTL)
	s.exec(`insert into klingwatch.webhook_endpoints (url, event_types, actions, disabled_at, disabled_reason) values ('https://gone.example/' || repeat('x', 200), '{task.failed}', '{}', now(), $1)`, hostileQuote)
	s.exec(`insert into klingwatch.events (event_id, task, sequence, type, payload) values ('msg_1', 3, 1, 'task.failed', '{}')`)
	s.exec(`insert into klingwatch.deliveries (event, url, state, attempts, tries_since, delivered_at) values (1, 'https://app.example/hook', 'delivered', 2, now(), now())`)
	got := s.as("read").sees("/", http.StatusOK,
		`<a href="/tasks?status=pending">1 pending</a>`, `<a href="/tasks?overdue=1">1</a>`, "1 without an answer",
		"east: polling is paused", "401 &lt;script&gt;", "klingwatch relays check east",
		"https://gone.example/", `<a href="/tasks/3">task 3</a>`, `<a href="/deliveries/1">1</a>`, "needs up to 0.4 of 2.0 requests/s",
		"Tasks that ended, by hour", "failed 1", "after further attempts 1")
	got.mustLack(t, hostileScript, hostileQuote, "Being counted")
	p := s.as("read")
	p.header.Set("Accept-Language", "zh")
	p.sees("/", http.StatusOK, "查询已暂停", "最近 24 小时", "1 个上次查询无应答")
}

func TestAKeyOfAnAppSeesNoOverview(t *testing.T) {
	t.Parallel()
	app := start(t).as("app")
	if got := app.get("/"); got.Header.Get("Location") != "/tasks" {
		t.Errorf("HTTP %d to %q", got.StatusCode, got.Header.Get("Location"))
	}
	app.sees("/live?view=overview", http.StatusForbidden, "restricted to one app")
}

// The doctor may take long, and asks relays: it comes when somebody looks, once for all of
// them, and nobody waits for it.
func TestTheDoctorComesWhenSomebodyLooks(t *testing.T) {
	t.Parallel()
	came, let := make(chan struct{}, 9), make(chan struct{})
	var runs atomic.Int64
	s := start(t, func(cfg *pages.Config) {
		cfg.Doctor = func(ctx context.Context) []doctor.Finding {
			runs.Add(1)
			came <- struct{}{}
			select {
			case <-let:
			case <-ctx.Done():
			}
			return []doctor.Finding{
				{Check: "migrations", State: doctor.OK, Found: "none is pending"},
				{Check: "services", State: doctor.Warn, Found: "look <b>here</b>", Todo: "start klingwatch serve"},
				{Check: "connections", State: doctor.Bad, Found: "3 of 4 cannot be read: no", Todo: "raise max_connections: each klingwatch process takes up to 23"},
			}
		}
	})
	en, zh := s.as("read"), s.as("read")
	zh.header.Set("Accept-Language", "zh-CN")
	en.sees("/tasks", http.StatusOK)
	if n := runs.Load(); n != 0 {
		t.Fatalf("it came %d times before anybody looked", n)
	}
	en.sees("/", http.StatusOK, "Checking…")
	zh.sees("/", http.StatusOK, "正在检查…")
	<-came
	tab := en.open("/live?view=overview")
	close(let)
	parts := tab.until("doctor", "raise max_connections")
	if text := parts["doctor"]; strings.Index(text, "raise max_connections") > strings.Index(text, "start klingwatch serve") || strings.Contains(text, "<b>here") {
		t.Errorf("the bad finding comes first, and nothing is HTML:\n%s", text)
	}
	zh.sees("/", http.StatusOK, "请调大 max_connections：每个 klingwatch 进程最多占用 23 个", "请启动 klingwatch serve", "4 个中有 3 个无法读取：no", "1 项检查无异常", "连接数")
	if n := runs.Load(); n != 1 {
		t.Errorf("it came %d times for four looks", n)
	}
}

func TestATaskIsSeenToGoThrough(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.as("read")
	p.sees("/", http.StatusOK, "No task yet")
	tab := p.open("/live?view=overview")
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('t-1', 'videos', 'text2video')`)
	s.cancel(1)
	began := time.Now()
	tab.until("latest", "canceled")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
