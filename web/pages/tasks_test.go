package pages_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestTheListOfTasksIsFilteredByItsAddress(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, external_id, metadata, app) values
		('one', 'videos', 'text2video', 'order-1', '{"user": 42}', 'studio'), ('two', 'images', 'generations', 'order-2', '{}', 'shop')`)
	s.exec(`update klingwatch.tasks set status = 'failed', ended_by = 'provider', finished_at = now(), status_message = 'pixel is invalid' where task_id = 'two'`)
	p := s.as("read")
	p.sees("/tasks", http.StatusOK, `href="/tasks/1"`, `href="/tasks/2"`, "2 tasks")
	for query, want := range map[string]string{
		"status=failed": "2", "status=pending&status=failed&relay=default&app=studio": "1", "action=videos": "1", "action=images/generations": "2", "external_id=order-2": "2",
		"metadata=user%3D42": "1", "error=PIXEL": "2", "since=1h&app=shop": "2", "until=2999-01-01&app=studio": "1",
	} {
		other := map[string]string{"1": "2", "2": "1"}[want]
		p.sees("/tasks?"+query, http.StatusOK, `href="/tasks/`+want+`"`, "1 task<").mustLack(t, `href="/tasks/`+other+`"`)
	}
	p.sees("/tasks?overdue=1", http.StatusOK, "No task is like that")
	p.sees("/tasks?metadata=user", http.StatusUnprocessableEntity, "key=value")
	p.sees("/tasks?since=yesterday", http.StatusUnprocessableEntity, "2026-11-25")
	for query, want := range map[string]string{"one": "/tasks/1", "2": "/tasks/2", "order-2": "/tasks/2"} {
		if got := p.get("/tasks?q=" + query); got.Header.Get("Location") != want {
			t.Errorf("looking for %q leads to %q", query, got.Header.Get("Location"))
		}
	}
	p.sees("/tasks?q=nothing", http.StatusOK, "No task is like that")
	p.sees("/tasks?q=%00", http.StatusOK, "No task is like that")
}

func TestALongListGoesOnByItsLastTask(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) select 't-' || i, 'videos', 'text2video' from generate_series(1, 120) i`)
	p := s.as("read")
	p.sees("/tasks?relay=default", http.StatusOK, "/tasks?before=71&amp;relay=default").mustLack(t, "Newest")
	p.sees("/tasks?before=71&relay=default", http.StatusOK, `href="/tasks/70"`, "/tasks?before=21&amp;relay=default", `href="/tasks?relay=default"`)
	p.sees("/tasks?before=21", http.StatusOK, `href="/tasks/1"`).mustLack(t, `rel="next"`)
}

func TestAnAppSeesItsOwnTasksOnly(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, app, external_id) values ('own', 'videos', 'text2video', 'studio', 'x'), ('foreign', 'videos', 'text2video', 'shop', 'x')`)
	p := s.as("app")
	p.sees("/tasks", http.StatusOK, "own").mustLack(t, "foreign")
	p.sees("/tasks?app=shop", http.StatusOK, "own").mustLack(t, "foreign")
	if got := p.get("/tasks?q=x"); got.Header.Get("Location") != "/tasks/1" {
		t.Errorf("looking for what both have leads to %q", got.Header.Get("Location"))
	}
	p.sees("/tasks/2", http.StatusNotFound).mustLack(t, "foreign")
	p.post("/tasks/2/cancel").mustHave(t, http.StatusNotFound)
}

func TestTasksAreCanceledAndAskedAboutAgain(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('one', 'videos', 'text2video')`)
	s.as("read").sees("/tasks/1", http.StatusOK, "waits for its first answer").mustLack(t, "Cancel</button>")
	p := s.as("write")
	p.sees("/tasks/1", http.StatusOK, "<button>Cancel")
	if got := p.post("/tasks/1/cancel"); got.Header.Get("Location") != "/tasks/1?done=canceled" {
		t.Errorf("it goes on at %q", got.Header.Get("Location"))
	}
	p.sees("/tasks/1?done=canceled", http.StatusOK, "does not ask about it any more", "A person stopped tracking it", "<button>Ask again", "<button disabled>Cancel")
	p.post("/tasks/1/cancel").mustHave(t, http.StatusConflict, "cannot be done")
	p.post("/tasks/1/retry")
	p.sees("/tasks/1", http.StatusOK, "<button>Cancel")
	p.post("/tasks/2/cancel").mustHave(t, http.StatusNotFound)
	p.post("/tasks/x/cancel").mustHave(t, http.StatusNotFound)
}

func TestHostileValuesStayValues(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, external_id, metadata, callback_url) values (repeat('i', 255), 'videos', 'text2video', $1, jsonb_build_object('k', $2::text || repeat('m', 15000)), $3)`,
		hostileScript+hostileQuote+hostileRTL, hostileScript, "https://app.example/"+strings.Repeat("u", 1900))
	s.exec(`update klingwatch.tasks set status = 'failed', ended_by = 'relay', finished_at = now(), status_message = $1::text, error_code = $1::text, last_error = $1::text, request_id = $1::text, result = jsonb_build_object('k', $1::text)`, hostileScript+hostileQuote)
	s.exec(`insert into klingwatch.outputs (task, kind, position, url, archive_error) values (1, 'video', 0, 'javascript:alert(1)', $1)`, hostileScript)
	p := s.as("admin")
	for _, path := range []string{"/tasks", "/tasks/1", "/tasks?q=" + "%3Cscript%3Ealert(1)%3C/script%3E", "/tasks?error=%22%20onmouseover=%22alert(1)&relay=%3Cscript%3E", "/tasks?done=%3Cscript%3E"} {
		for _, lang := range []string{"en", "zh"} {
			p.header.Set("Accept-Language", lang)
			p.sees(path, http.StatusOK).mustLack(t, "<script>alert", `" onmouseover="alert`, `href="javascript:`)
		}
	}
	p.header.Set("Accept-Language", "en")
	p.sees("/tasks/1", http.StatusOK, "says that it failed").mustLack(t, "\"k\": \"<script>")
}

// A page in every state of a task, in both languages: each has its words.
func TestEveryTaskIsExplained(t *testing.T) {
	t.Parallel()
	s := start(t)
	n := 0
	for status, by := range map[string][]string{
		"pending": {""}, "submitted": {""}, "processing": {""}, "succeeded": {"provider", "relay"}, "failed": {"provider", "relay", "klingwatch"},
		"expired": {"klingwatch"}, "not_found": {"relay", "klingwatch"}, "canceled": {"person", "provider", "relay"},
	} {
		for _, ended := range by {
			n++
			s.exec(fmt.Sprintf(`insert into klingwatch.tasks (task_id, action, action2) values ('t-%d', 'videos', 'text2video')`, n))
			if ended != "" {
				s.exec(`update klingwatch.tasks set status = $1, ended_by = $2, finished_at = now() where id = $3`, status, ended, n)
			} else {
				s.exec(`update klingwatch.tasks set status = $1, last_error = 'unavailable: HTTP 500', last_polled_at = now() where id = $2`, status, n)
			}
		}
	}
	p := s.as("write")
	for id := 1; id <= n; id++ {
		for _, lang := range []string{"en", "zh"} {
			p.header.Set("Accept-Language", lang)
			p.sees(fmt.Sprintf("/tasks/%d", id), http.StatusOK, `class="timeline"`)
		}
	}
}
