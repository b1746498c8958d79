package poll

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

// One wrong path must neither be asked at full rate nor slow the others down.
func TestAPathThatIsNotServedIsHeldBackAlone(t *testing.T) {
	t.Parallel()
	var ps paths
	now := time.Unix(0, 0)
	html := trouble(klingapi.Misconfigured)
	ask := func(path string, task int64, err error) (turned bool) {
		t.Helper()
		ticket, wait := ps.admit(path, now)
		if wait > 0 {
			t.Fatalf("%s is held back for %s", path, wait)
		}
		return ps.report(path, ticket, task, err, now)
	}
	for task := range int64(gateFailures) {
		if turned := ask("video/text2video", task, html); turned != (task == gateFailures-1) {
			t.Fatalf("task %d: turned %v", task, turned)
		}
		ask("videos/text2video", task, nil)
	}
	if _, wait := ps.admit("video/text2video", now); wait != gateFirst {
		t.Errorf("held back for %s", wait)
	}
	if closed := ps.closed(); len(closed) != 1 || closed[0] != "video/text2video: misconfigured: because" {
		t.Errorf("%q", closed)
	}
	ask("videos/text2video", 99, nil)

	now = now.Add(gateFirst)
	probe, _ := ps.admit("video/text2video", now)
	if ps.report("video/text2video", probe, 1, trouble(klingapi.Unreachable), now) {
		t.Error("an outage opened the path")
	}
	probe, wait := ps.admit("video/text2video", now)
	if wait > 0 || !probe.probe {
		t.Fatalf("no probe after an outage: %s", wait)
	}
	if !ps.report("video/text2video", probe, 1, trouble(klingapi.NotFound), now) || len(ps.closed()) > 0 {
		t.Errorf("an answer about a task does not open the path: %q", ps.closed())
	}
}

func TestASingleTaskOnAWrongPathHoldsNothingBack(t *testing.T) {
	t.Parallel()
	var ps paths
	for range 100 {
		ticket, wait := ps.admit("a/b", time.Unix(0, 0))
		if wait > 0 {
			t.Fatal("held back")
		}
		ps.report("a/b", ticket, 7, trouble(klingapi.Misconfigured), time.Unix(0, 0))
	}
}

// Keys exist that fit one kind of endpoint: where nothing on a path is answered, its tasks
// are asked about rarely, and otherwise a refusal is the task's own.
func TestAPathThatRefusesTheKeyIsHeldBackAlone(t *testing.T) {
	t.Parallel()
	var ps paths
	now := time.Unix(1_000_000, 0)
	refused := trouble(klingapi.Refused)
	ask := func(path string, task int64, err error) (turned bool) {
		t.Helper()
		ticket, wait := ps.admit(path, now)
		if wait > 0 {
			t.Fatalf("%s is held back for %s", path, wait)
		}
		return ps.report(path, ticket, task, err, now)
	}
	ask("videos/text2video", 99, nil)
	for task := range int64(gateFailures) {
		if turned := ask("tasks", task, refused); turned != (task == gateFailures-1) {
			t.Fatalf("task %d: turned %v", task, turned)
		}
	}
	if _, wait := ps.admit("tasks", now); wait == 0 {
		t.Error("a path on which nothing is answered is not held back")
	}
	for task := range int64(10 * gateFailures) {
		ask("videos/text2video", task, refused) // one of its tasks was answered just now
	}
	now = now.Add(gateFirst)
	probe, _ := ps.admit("tasks", now)
	if !ps.report("tasks", probe, 1, nil, now) || len(ps.closed()) > 0 {
		t.Errorf("an answer does not open the path: %q", ps.closed())
	}
}
