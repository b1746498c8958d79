package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/demo"
	"github.com/klingwatch/klingwatch/embeddedpg"
)

// Texts of a relay are printed like those of any stranger.
func TestSampleTasksCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &console{out: &out, err: &out}
	c.newProgress(1, "").line("%s", endedLine(time.Second, db.TaskStatus{TaskID: hostileText, Status: db.Failed}))
	mustBeSafe(t, "an id", out.String())
	out.Reset()
	c.newProgress(1, "").line("%s", endedLine(time.Second, db.TaskStatus{TaskID: "t", Status: db.Failed, StatusMessage: hostileText}))
	mustBeSafe(t, "a message", out.String())
}

func TestAComparisonIsGoodOnlyIfEverythingIs(t *testing.T) {
	t.Parallel()
	right := demo.Row{Sample: demo.Sample{Path: "videos/text2video", TaskID: "ok-1"}, Status: db.Succeeded, Polls: 2, Webhooks: 3, Files: 1}
	wrong := right
	wrong.Wrong = "expected failed"
	for _, test := range []struct {
		rows    []demo.Row
		refused int
		good    bool
		part    string
	}{
		{[]demo.Row{right, right}, 0, true, "videos/text2video  ok-1  succeeded  2      3         1      ok\n"},
		{[]demo.Row{right, wrong}, 0, false, "wrong  expected failed\n"},
		{[]demo.Row{right}, 1, false, "1 webhooks had a wrong signature\n"},
	} {
		var out bytes.Buffer
		c := &console{out: &out, err: &out}
		if good := c.printComparison(test.rows, test.refused); good != test.good || !strings.Contains(out.String(), test.part) {
			t.Errorf("good: %v, want %v and %q\n%s", good, test.good, test.part, out.String())
		}
	}
}

var pagesLine = regexp.MustCompile(`(?m)^pages +(http://\S+)$`)

var exported = regexp.MustCompile(`export DATABASE_URL='(.*)'`)

// Whoever works beside it sees what becomes of each task and webhook.
func TestDevShowsWhatHappens(t *testing.T) {
	t.Parallel()
	tempDir := dbtest.NewDir(t)
	p := launch(t, []string{"TMPDIR=" + tempDir, "KLINGWATCH_LISTEN_ADDR=127.0.0.1:0"}, "dev", "--tasks", "1")
	await(t, "it invites", func() bool { return strings.Contains(p.stdout(), "What happens is shown here") })
	jar, _ := cookiejar.New(nil) // it cannot fail
	browser := &http.Client{Jar: jar}
	res, err := browser.Get(pagesLine.FindStringSubmatch(p.stdout())[1])
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if page, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(page), "Log out") {
		t.Errorf("the address that it prints opens no page, logged in: HTTP %d %s", res.StatusCode, page)
	}
	url := exported.FindStringSubmatch(p.stdout())[1]
	said := klingwatch(t, []string{"DATABASE_URL=" + url}, "track", "videos/text2video", "quick-mine")
	if !strings.Contains(said, "quick-mine") {
		t.Error(said)
	}
	for _, line := range []string{`quick-mine +succeeded`, `quick-mine +webhook task.succeeded -> http://127.0.0.1:\d+/endpoint: 204`} {
		await(t, line, func() bool { return regexp.MustCompile(line).MatchString(p.stdout()) })
	}
	if code, stderr := p.interrupt(t); code != exitOK || !strings.Contains(p.stdout(), "the database and the log are removed") {
		t.Errorf("exit code %d: %s\n%s", code, stderr, p.stdout())
	}
	if left := leftBehind(tempDir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestDevKeepsItsDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(dbtest.NewDir(t), "kept")
	for run := range 2 {
		klingwatch(t, nil, "dev", "--exit", "--tasks", "3", "--keep", dir)
		server, err := embeddedpg.Start(t.Context(), embeddedpg.Config{DataDir: filepath.Join(dir, "postgres")})
		if err != nil {
			t.Fatal(err)
		}
		pool := open(t, server.URL())
		tasks := count(t, pool, `select count(*) from klingwatch.tasks where status <> 'pending'`)
		receivers := count(t, pool, `select count(*) from klingwatch.webhook_endpoints`)
		pool.Close()
		if err := server.Close(); err != nil || tasks != 3*(run+1) || receivers != 1 {
			t.Errorf("%d tasks and %d receivers after run %d, %v", tasks, receivers, run+1, err)
		}
	}
}

// Two runs on one directory would take each other's database and relay.
func TestTwoRunsOfDevDoNotShareADirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(dbtest.NewDir(t), "kept")
	first := launch(t, []string{"KLINGWATCH_LISTEN_ADDR=127.0.0.1:0"}, "dev", "--tasks", "1", "--keep", dir)
	await(t, "it invites", func() bool { return strings.Contains(first.stdout(), "What happens is shown here") })
	before, err := os.ReadFile(filepath.Join(dir, "dev.json"))
	if err != nil {
		t.Fatal(err)
	}
	code, stderr := launch(t, nil, "dev", "--exit", "--tasks", "1", "--keep", dir).ended(t)
	if code != exitError || !strings.Contains(stderr, fmt.Sprintf("it is in use by process %d: end that one", first.Process.Pid)) {
		t.Errorf("the second: exit code %d\n%s", code, stderr)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "dev.json")); err != nil || string(after) != string(before) {
		t.Errorf("%s\n%s, %v", before, after, err)
	}
	if code, stderr := first.interrupt(t); code != exitOK {
		t.Errorf("the first: exit code %d\n%s", code, stderr)
	}
}

// A sample that goes wrong is looked into by whoever started dev, with all that runs.
func TestDevGoesOnAfterASampleThatWentWrong(t *testing.T) {
	t.Parallel()
	p := launch(t, []string{"TMPDIR=" + dbtest.NewDir(t), "KLINGWATCH_LISTEN_ADDR=127.0.0.1:0"}, "dev", "--tasks", "1", "--seed", "1")
	var url string
	await(t, "it has a database", func() bool {
		found := regexp.MustCompile(`(?m)^database +(postgres://\S+)$`).FindStringSubmatch(p.stdout())
		if found != nil {
			url = found[1]
		}
		return found != nil
	})
	pool := open(t, url)
	await(t, "the sample is canceled", func() bool {
		return count(t, pool, `select count(*) from klingwatch.tasks, klingwatch.cancel(id)`) == 1
	})
	await(t, "it invites", func() bool { return strings.Contains(p.stdout(), "What happens is shown here") })
	pool.Close()
	if code, stderr := p.interrupt(t); code != exitOK || !strings.Contains(stderr, "not everything went as expected; to see it again: dev --exit --tasks 1 --seed 1") {
		t.Errorf("exit code %d: %s\n%s", code, stderr, p.stdout())
	}
}

func TestWhatHappensCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]db.Happening{
		"a change":  {EventType: "task.failed", TaskID: hostileText, Message: hostileText},
		"a request": {EventType: "task.failed", TaskID: hostileText, URL: "http://x/" + hostileText, Message: hostileText},
	} {
		var out bytes.Buffer
		c := &console{out: &out, err: &out}
		c.newProgress(1, "").line("%s", happenedLine(time.Second, h))
		mustBeSafe(t, name, out.String())
	}
}
