package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// hostileText tries to steer a terminal, to show in another order and to hide.
const hostileText = "\x1b[2Jfail\u202edeecc\u2066us\u200b\ufeff\u2028ok"

// mustBeSafe fails on what of hostileText must not reach a terminal or a log.
func mustBeSafe(t *testing.T, where, text string) {
	t.Helper()
	if strings.ContainsAny(text, "\x1b\u202e\u2066\u200b\ufeff\u2028") || !strings.Contains(text, "deeccus ok") {
		t.Errorf("%s: %q", where, text)
	}
}

func TestATextFromOutsideCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &console{out: &out, err: &out}
	c.printTable([]string{"WHY"}, [][]string{{hostileText}})
	mustBeSafe(t, "a table", out.String())
	out.Reset()
	c.printField("why", hostileText)
	mustBeSafe(t, "a field", out.String())
	out.Reset()
	fail(&out, errors.New(hostileText))
	mustBeSafe(t, "an error", out.String())
}

func TestATextFromOutsideIsOneSafeLineInTheLog(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		log := settings{LogLevel: "info", LogFormat: format}.newLog(&out)
		log.With("task_id", hostileText).WithGroup("g").Warn(hostileText, "message", hostileText, "error", errors.New(hostileText))
		mustBeSafe(t, format, out.String())
		if strings.Contains(out.String(), `\u202e`) || strings.Count(out.String(), "deeccus ok") != 4 || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%s: %q", format, out.String())
		}
	}
}
