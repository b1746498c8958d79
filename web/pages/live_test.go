package pages_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// tab is a stream of live parts.
type tab struct {
	*person
	lines  *bufio.Scanner
	close  func()
	status int
	last   string // id of the last message
}

// open follows a view.
func (p *person) open(path string) *tab {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), 20*time.Second)
	p.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		p.Fatal(err)
	}
	client := &http.Client{Jar: p.client.Jar}
	res, err := client.Do(r)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { res.Body.Close() })
	return &tab{person: p, lines: bufio.NewScanner(res.Body), close: cancel, status: res.StatusCode}
}

// until reads messages until one has a part that holds a text, and returns all its parts.
func (t *tab) until(id, text string) map[string]string {
	t.Helper()
	for t.lines.Scan() {
		if id, found := strings.CutPrefix(t.lines.Text(), "id: "); found {
			t.last = id
		}
		data, found := strings.CutPrefix(t.lines.Text(), "data: ")
		if !found {
			continue
		}
		var parts map[string]string
		if err := json.Unmarshal([]byte(data), &parts); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if content, has := parts[id]; has && strings.Contains(content, text) {
			return parts
		}
	}
	t.Fatalf("the stream ended before %q held %q: %v", id, text, t.lines.Err())
	return nil
}

// cancel ends a task, which is an event.
func (s *site) cancel(id int64) {
	s.Helper()
	tasks, err := db.TasksOf(s.Context(), s.pool, []int64{id})
	if err == nil {
		err = operate.Cancel(s.Context(), s.pool, tasks[0], time.Hour)
	}
	if err != nil {
		s.Fatal(err)
	}
}

func TestARowChangesWithoutAsking(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('one', 'videos', 'text2video'), ('two', 'videos', 'text2video')`)
	tab := s.as("read").open("/live?view=tasks&ids=1,2&above=2")
	tab.until("t1-status", "pending")
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('three', 'videos', 'text2video')`)
	s.cancel(1)
	parts := tab.until("t1-status", "canceled")
	if _, told := parts["t2-status"]; told {
		t.Errorf("what has not changed is told again: %v", parts)
	}
	if !strings.Contains(parts["new"], "1 new") {
		t.Errorf("of new tasks it says %q", parts["new"])
	}
}

func TestAStreamGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('one', 'videos', 'text2video'), ('two', 'videos', 'text2video')`)
	p := s.as("read")
	first := p.open("/live?view=tasks&ids=1,2")
	first.until("t1-status", "pending")
	s.cancel(1)
	first.until("t1-status", "canceled")
	first.close()
	s.cancel(2)
	again := p.open("/live?view=tasks&ids=1,2&after=" + first.last)
	again.until("t2-status", "canceled")
	p.open("/live?view=tasks&ids=1,2&after=999999").until("t2-status", "canceled") // of another database: all is told anew
}

func TestAnAppIsToldOfItsOwnTasksOnly(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, app) values ('own', 'videos', 'text2video', 'studio'), ('foreign', 'videos', 'text2video', 'shop')`)
	tab := s.as("app").open("/live?view=tasks&ids=1,2&above=0")
	if parts := tab.until("t1-status", "pending"); parts["t2-status"] != "" || !strings.Contains(parts["new"], "1 new") {
		t.Errorf("it is told %v", parts)
	}
}

// A page knows what it shows: its stream begins with what has happened since.
func TestAStreamBeginsWhereItsPageEnds(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('one', 'videos', 'text2video'), ('two', 'videos', 'text2video')`)
	s.cancel(1)
	p := s.as("read")
	after := regexp.MustCompile(`data-after="(\d+)"`).FindStringSubmatch(p.sees("/tasks", http.StatusOK).body)[1]
	s.cancel(2) // between the page and its stream
	if parts := p.open("/live?view=tasks&ids=1,2&after="+after).until("t2-status", "canceled"); parts["t1-status"] != "" {
		t.Errorf("what the page shows is told again: %v", parts)
	}
}

func TestAStreamEndsWithItsKey(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('one', 'videos', 'text2video')`)
	p := s.as("read")
	tab := p.open("/live?view=tasks&ids=1")
	tab.until("t1-status", "pending")
	if err := operate.RevokeAPIKey(t.Context(), s.pool, s.keys["read"][3:11]); err != nil {
		t.Fatal(err)
	}
	for tab.lines.Scan() { // ends
	}
	if again := p.open("/live?view=tasks&ids=1"); again.status != http.StatusUnauthorized {
		t.Errorf("with a revoked key: HTTP %d", again.status)
	}
}

func TestAnIdleStreamAsksTheDatabaseNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('one', 'videos', 'text2video')`)
	p := s.as("read")
	for _, view := range []string{"tasks&ids=1&above=1", "task&ids=1"} {
		tab := p.open("/live?view=" + view)
		parts := tab.until(map[string]string{"tasks&ids=1&above=1": "t1-status", "task&ids=1": "head"}[view], "pending")
		if len(parts) == 0 {
			t.Errorf("%s is told nothing", view)
		}
	}
	acquired := s.pool.Stat().AcquireCount()
	time.Sleep(1200 * time.Millisecond) // more than the shortest time after which a view looks again
	// the callers' keys are looked at once a second, for all streams of the process
	if n := s.pool.Stat().AcquireCount() - acquired; n > 2 {
		t.Errorf("two idle streams asked the database %d times in a second", n)
	}
}

// What a look that failed would have told is told by the next one, which looks at all.
func TestNothingIsLostWhereALookFails(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('one', 'videos', 'text2video')`)
	var looks atomic.Int32
	s.pages.SetView("failing", func(changed []int64) (map[string]string, error) {
		n := looks.Add(1)
		if n == 2 {
			return nil, errors.New("the database is away")
		}
		return map[string]string{"look": fmt.Sprintf("look %d at %v", n, changed)}, nil
	})
	tab := s.as("read").open("/live?view=failing")
	tab.until("look", "look 1 at []")
	before := tab.last
	s.cancel(1)
	for tab.lines.Scan() && tab.lines.Text() != ": behind" {
		if id, told := strings.CutPrefix(tab.lines.Text(), "id: "); told && id != before {
			t.Errorf("the cursor moves to %s although nothing was told", id)
		}
	}
	tab.until("look", "look 3 at []")
}
