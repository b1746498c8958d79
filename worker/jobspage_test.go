package worker

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// River's own page is served by a worker that has not begun to work, and knows the jobs of our schema.
func TestThePageAboutJobsShowsTheJobsOfTasks(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	page, err := New(config(t, pool, "http://127.0.0.1:1")).JobsPage("/jobs")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path, body string, answer any) int {
		t.Helper()
		w := httptest.NewRecorder()
		page.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		if answer != nil {
			if err := json.Unmarshal(w.Body.Bytes(), answer); err != nil {
				t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
		return w.Code
	}
	type job struct {
		ID    int64  `json:"id"`
		Kind  string `json:"kind"`
		State string `json:"state"`
	}
	var jobs struct {
		Data []job `json:"data"`
	}
	count := func(state string) int {
		var states map[string]struct {
			Count int `json:"count"`
		}
		ask(http.MethodGet, "/jobs/api/states", "", &states)
		return states[state].Count
	}

	if got := count("available"); got != 0 {
		t.Fatalf("%d jobs of no task", got)
	}
	track(t, pool, "images/generations", "", "one", "two")
	if got := count("available"); got != 2 {
		t.Errorf("%d available jobs of two tasks: the number of before is still told", got)
	}
	ask(http.MethodGet, "/jobs/api/jobs?state=available", "", &jobs)
	if len(jobs.Data) != 2 || jobs.Data[0].Kind != "poll" {
		t.Fatalf("the jobs of two tasks: %+v", jobs.Data)
	}
	if code := ask(http.MethodPost, "/jobs/api/jobs/cancel", fmt.Sprintf(`{"ids":["%d"]}`, jobs.Data[0].ID), nil); code != http.StatusOK {
		t.Errorf("canceling a job: %d", code)
	}
	if available, canceled := count("available"), count("cancelled"); available != 1 || canceled != 1 {
		t.Errorf("after one was canceled: %d available, %d canceled", available, canceled)
	}
	if code := ask(http.MethodGet, "/elsewhere", "", nil); code != http.StatusNotFound {
		t.Errorf("another path: %d", code)
	}
}
