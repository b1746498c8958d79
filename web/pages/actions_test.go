package pages_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const threeTasks = `insert into klingwatch.tasks (task_id, action, action2, app) values ('one', 'videos', 'text2video', 'studio'), ('two', 'videos', 'text2video', 'shop'), ('three', 'images', 'generations', 'studio')`

func TestAllThatAFilterFindsIsCanceledOnceItIsConfirmed(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(threeTasks)
	p := s.as("write")
	p.sees("/tasks?action=videos", http.StatusOK, `name="action" value="videos"`, `name="do" value="cancel"`)
	p.sees("/actions/new?do=cancel&action=videos", http.StatusOK, "2 tasks", "may charge for them", `name="expected" value="2"`, `href="/tasks/1"`, `href="/tasks?action=videos"`)
	got := p.post("/actions", "do", "cancel", "action", "videos", "expected", "2")
	if got.Header.Get("Location") != "/actions/1?done=begun" {
		t.Fatalf("HTTP %d to %q\n%s", got.StatusCode, got.Header.Get("Location"), got.main())
	}
	p.sees("/actions/1?done=begun", http.StatusOK, "It has begun", "0 of 2 are changed", "<button>Stop")
	s.as("read").sees("/actions", http.StatusOK, "Cancel tasks", "0 / 2")
	s.as("read").sees("/actions/1", http.StatusOK).mustLack(t, "<button>Stop")
	if got := p.post("/actions/1/stop"); got.Header.Get("Location") != "/actions/1?done=stopped" {
		t.Errorf("stopping it: HTTP %d", got.StatusCode)
	}
	p.sees("/actions/1", http.StatusOK, "stopped").mustLack(t, "<button>Stop")
	p.sees("/actions/2", http.StatusNotFound)
}

func TestWhatIsConfirmedIsDoneToAsManyAsWereShown(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(threeTasks)
	p := s.as("write")
	p.post("/actions", "do", "cancel", "action", "videos", "expected", "1").mustHave(t, http.StatusConflict, "Nothing was done", "2 tasks", `name="expected" value="2"`)
	p.post("/actions", "do", "cancel", "action", "videos", "expected", "many").mustHave(t, http.StatusUnprocessableEntity)
	p.post("/actions", "do", "explode", "action", "videos").mustHave(t, http.StatusUnprocessableEntity)
	p.sees("/actions", http.StatusOK, "Nothing was done to many")
}

func TestNothingIsDoneToEverything(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(threeTasks)
	p := s.as("write")
	p.sees("/actions/new?do=cancel", http.StatusUnprocessableEntity, "done to everything", `name="do" value="cancel"`, `<option value="7d">`).mustLack(t, `method="post" action="/actions"`)
	p.sees("/actions/new?do=redeliver", http.StatusUnprocessableEntity, "done to everything")
	p.sees("/actions/new?do=redeliver&state=delivered", http.StatusUnprocessableEntity, "done to everything", `name="state" value="delivered"`)
	p.sees("/actions/new?do=redeliver&receiver=callback&since=7d", http.StatusUnprocessableEntity, "not by type")
	p.post("/actions", "do", "cancel", "expected", "3").mustHave(t, http.StatusUnprocessableEntity)
	p.sees("/actions/new?do=cancel&since=7d", http.StatusOK, "3 tasks")
	p.sees("/actions/new?do=cancel&status=failed&since=7d", http.StatusOK, "nothing to cancel").mustLack(t, `method="post" action="/actions"`)
	p.sees("/actions/new?do=retry&since=7d", http.StatusOK, "None of these has ended")
	p.sees("/actions/new?do=archive&action=videos", http.StatusOK, "None of these has a file")
}

func TestChosenTasksAreChangedOneByOne(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(threeTasks)
	s.cancel(3)
	p := s.as("write")
	p.sees("/actions/new?do=cancel&ids=1&ids=3&ids=99", http.StatusOK, "1 task<", `name="ids" value="1"`)
	p.post("/actions", "do", "cancel", "ids", "1", "ids", "3", "ids", "99").mustHave(t, http.StatusOK, "1 task is canceled", "Not done for 2", "in a state in which this cannot be done")
	p.sees("/tasks/1", http.StatusOK, "A person stopped tracking it")
	p.sees("/tasks/2", http.StatusOK, "waits for its first answer")
	p.post("/actions", "do", "retry", "ids", "1", "ids", "3").mustHave(t, http.StatusOK, "2 tasks are asked about again")
	p.sees("/actions/new?do=cancel&q=two", http.StatusOK, "1 task<", `name="ids" value="2"`)
	p.sees("/actions/new?do=cancel&q=nothing", http.StatusUnprocessableEntity, "Filter first")
	p.sees("/actions/new?do=cancel&ids=x", http.StatusUnprocessableEntity)
	p.sees("/actions/new?do=cancel&"+strings.Repeat("ids=1&", 201), http.StatusUnprocessableEntity)
	p.sees("/actions/new?do=redeliver&ids=1", http.StatusUnprocessableEntity)
}

func TestAnAppActsOnItsOwnTasksOnly(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(threeTasks)
	p := s.as("app")
	p.sees("/actions/new?do=cancel&action=videos", http.StatusOK, "1 task<", `href="/tasks/1"`).mustLack(t, "two")
	p.sees("/actions/new?do=cancel&action=videos&app=shop", http.StatusOK, "1 task<").mustLack(t, "two")
	p.post("/actions", "do", "cancel", "ids", "1", "ids", "2").mustHave(t, http.StatusOK, "1 task is canceled", "Not done for 1")
	p.sees("/actions/new?do=redeliver&since=7d", http.StatusForbidden)
	s.as("write").post("/actions", "do", "cancel", "app", "shop", "expected", "1")
	p.sees("/actions/1", http.StatusNotFound)
	p.post("/actions/1/stop").mustHave(t, http.StatusNotFound)
	p.post("/actions", "do", "cancel", "action", "images", "expected", "1")
	p.sees("/actions/2", http.StatusOK)
}

func TestReasonsAreToldOnceForAllTasksThatHaveThem(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(threeTasks)
	s.exec(`update klingwatch.tasks set relay = 'gone', status = 'failed', finished_at = now() where id < 3`)
	got := s.as("write").post("/actions", "do", "retry", "ids", "1", "ids", "2", "ids", "3")
	got.mustHave(t, http.StatusOK, "0 tasks are asked about again", "Not done for 3", `<a href="/tasks/1">1</a> <a href="/tasks/2">2</a>`)
	if n := strings.Count(got.body, "there is no relay gone any more"); n != 1 {
		t.Errorf("the reason is told %d times\n%s", n, got.main())
	}
}

// Each of the tasks is canceled by one of them, and both are told the truth.
func TestTwoWhoCancelTheSameTasksAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(threeTasks)
	answers := make(chan answer, 2)
	for range 2 {
		p := s.as("write")
		go func() { answers <- p.post("/actions", "do", "cancel", "ids", "1", "ids", "2", "ids", "3") }()
	}
	done := 0
	for range 2 {
		got := <-answers
		got.mustHave(t, http.StatusOK)
		for n, text := range []string{"0 tasks are canceled", "1 task is canceled", "2 tasks are canceled", "3 tasks are canceled"} {
			if strings.Contains(got.body, "<h1>"+text) {
				done += n
			}
		}
	}
	if done != 3 {
		t.Errorf("they are told that %d tasks were canceled, and there are 3", done)
	}
}

func TestProgressIsShownLive(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(threeTasks)
	p := s.as("app")
	p.post("/actions", "do", "cancel", "app", "studio", "expected", "2")
	list := s.as("read").open("/live?view=actions")
	list.until("b1-done", "0 / 2")
	own := p.open("/live?view=action&ids=1")
	own.until("progress", "0 of 2")
	s.exec(`update klingwatch.bulk_actions set done = matched, finished_at = now()`)
	own.until("progress", "2 of 2")
	list.until("b1-state", "finished")
	if got := p.open("/live?view=actions"); got.status != http.StatusForbidden {
		t.Errorf("all bulk actions to an app: HTTP %d", got.status)
	}
}

func TestAWishIsCarriedOnAsItWasMade(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(threeTasks)
	s.exec(`update klingwatch.tasks set last_error = '"><script>'`)
	body := s.as("write").sees("/actions/new?do=cancel&status=pending&status=submitted&relay=default&app=studio&error=%22%3E%3Cscript%3E&since=1d", http.StatusOK).main()
	var carried []string
	for _, input := range regexp.MustCompile(`type="hidden" name="([a-z]+)" value="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		carried = append(carried, input[1]+"="+input[2])
	}
	if got, want := strings.Join(carried, " "), "app=studio do=cancel error=&#34;&gt;&lt;script&gt; relay=default since=1d status=pending status=submitted expected=2"; got != want {
		t.Errorf("it carries %q, want %q", got, want)
	}
}
