package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/demo"
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
	right := demo.Row{Sample: demo.Sample{Path: "videos/text2video", TaskID: "ok-1"}, Status: db.Succeeded, Polls: 2, Webhooks: 3}
	wrong := right
	wrong.Wrong = "expected failed"
	for _, test := range []struct {
		rows    []demo.Row
		refused int
		good    bool
		part    string
	}{
		{[]demo.Row{right, right}, 0, true, "videos/text2video  ok-1  succeeded  2      3         ok\n"},
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
