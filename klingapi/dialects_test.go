package klingapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/klingapi"
)

// loopback is the host of the server that answers.
var loopback = regexp.MustCompile(`//127\.0\.0\.1:[0-9]+/`)

// verdictOf says in a line what the client understood of an answer to the question
// for task "ID": the status and its marks, the files by kind, the result, the message.
func verdictOf(t *testing.T, action string, status int, header http.Header, body string) string {
	t.Helper()
	reply, err := ask(t, klingapi.Ref{Action: action, Action2: "any", TaskID: "ID"}, status, header, []byte(body))
	if apiErr, ok := errors.AsType[*klingapi.Error](err); ok {
		return "error " + string(apiErr.Kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := reply.Record
	text := string(r.Status)
	for _, mark := range []struct {
		set  bool
		name string
	}{{r.Bare, "bare"}, {r.Unsure, "unsure"}, {r.ByRelay, "by relay"}, {r.Incomplete, "incomplete"}, {r.TooLarge > 0, "too large"}} {
		if mark.set {
			text = strings.TrimSpace(text + " " + mark.name)
		}
	}
	for _, o := range r.Outputs {
		url := strings.TrimPrefix(loopback.ReplaceAllString(o.URL, "//HOST/"), "https://cdn.example/")
		if o.NeedsKey {
			url = "key:" + url
		}
		text += fmt.Sprintf(" %s[%d]=%s", o.Kind, o.Position, url)
		if o.DurationSeconds != "" {
			text += "/" + o.DurationSeconds
		}
	}
	if r.Result != nil {
		text += " result=" + string(r.Result)
	}
	if r.Message != "" {
		text += ": " + r.Message
	}
	return text
}

// dialect is an answer and what it means; action is videos, status 200 unless given.
type dialect struct {
	name, action string
	status       int
	body, want   string
}

func (d dialect) run(t *testing.T) {
	t.Helper()
	action, status := d.action, d.status
	if action == "" {
		action = "videos"
	}
	if status == 0 {
		status = http.StatusOK
	}
	if got := verdictOf(t, action, status, nil, d.body); got != d.want {
		t.Errorf("%s\n got %s\nwant %s\n%s", d.name, got, d.want, d.body)
	}
}

// dialectsOf reads a group of the samples in testdata/dialects.json, which
// docs/replies.md is made of as well.
func dialectsOf(group string) (list []dialect) {
	content, err := os.ReadFile("testdata/dialects.json")
	if err != nil {
		panic(err)
	}
	var samples []struct {
		Group, Name, Action, Body, Want string
		Status                          int
	}
	if err := json.Unmarshal(content, &samples); err != nil {
		panic(err)
	}
	for _, s := range samples {
		if s.Group == group {
			list = append(list, dialect{s.Name, s.Action, s.Status, s.Body, s.Want})
		}
	}
	if len(list) == 0 {
		panic("no samples of " + group)
	}
	return list
}

func runAll(t *testing.T, dialects []dialect) {
	t.Helper()
	for _, d := range dialects {
		d.run(t)
	}
}

var recordDialects = dialectsOf("records")

func TestRecordsAreFound(t *testing.T) {
	t.Parallel()
	runAll(t, recordDialects)
}

var resultDialects = dialectsOf("results that are no files")

func TestResultsThatAreNoFiles(t *testing.T) {
	t.Parallel()
	runAll(t, resultDialects)
}

var contradictionDialects = dialectsOf("contradictions")

func TestContradictions(t *testing.T) {
	t.Parallel()
	runAll(t, contradictionDialects)
}

var newAPIDialects = dialectsOf("new-api")

func TestInFrontOfNewAPI(t *testing.T) {
	t.Parallel()
	runAll(t, newAPIDialects)
}
