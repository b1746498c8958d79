package klingapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var knownRef = Ref{Action: "videos", Action2: "text2video", TaskID: "867283741759111202"}

// bodies are all samples, and those of the dialects.
func bodies(t *testing.T) (list []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(content))
	}
	content, err := os.ReadFile("testdata/dialects.json")
	var dialects []struct{ Body string }
	if err == nil {
		err = json.Unmarshal(content, &dialects)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dialects {
		list = append(list, d.Body)
	}
	return list
}

// readAfter reads an answer after another one, as GetTaskAgain does.
func readAfter(before, now answer) (reply *Reply, err error, same bool) {
	if first, err := interpret(knownRef, before.Response, before.body, "relay.example"); err == nil {
		if known := knownOf(knownRef, before, first); known.isAnswer(knownRef, now) {
			return known.reply(), nil, true
		}
	}
	reply, err = interpret(knownRef, now.Response, now.body, "relay.example")
	return reply, err, false
}

func answerOf(status int, body string) answer {
	return answer{Response: &http.Response{StatusCode: status, Header: http.Header{}}, body: []byte(body)}
}

// told is what a poller heeds of a reply that says that the task runs.
func told(r *Reply) string {
	return fmt.Sprint(r.HTTPStatus, r.Code, r.Record.Word, r.Record.Status, r.Record.Unsure, r.Record.Bare, r.Record.ByRelay, r.Record.Incomplete, r.Record.TooLarge)
}

// Whatever is taken for the known answer says what it said, if it were read.
func TestWhatIsTakenForTheKnownAnswerSaysTheSame(t *testing.T) {
	t.Parallel()
	samples, taken := bodies(t), 0
	rapid.Check(t, func(t *rapid.T) {
		before := drawn(t, samples)
		now := mutated(t, before)
		status := rapid.SampledFrom([]int{200, 200, 200, 201, 404, 500}).Draw(t, "status")
		got, err, same := readAfter(answerOf(200, before), answerOf(status, now))
		if !same {
			return
		}
		taken++
		want, wantErr := interpret(knownRef, answerOf(status, now).Response, []byte(now), "relay.example")
		if err != nil || wantErr != nil {
			t.Fatalf("%v, %v\n%s", err, wantErr, now)
		}
		if diff := cmp.Diff(told(want), told(got)); diff != "" {
			t.Fatalf("%s\n%s\n%s", diff, before, now)
		}
	})
	if taken == 0 {
		t.Error("nothing was taken for the known answer")
	}
}

// drawn is a sample, perhaps with an id of the request.
func drawn(t *rapid.T, samples []string) string {
	body := rapid.SampledFrom(samples).Draw(t, "sample")
	if rapid.Bool().Draw(t, "with an id") {
		body = strings.Replace(body, "{", `{"request_id":"`+requestIDs.Draw(t, "id")+`",`, rapid.IntRange(1, 3).Draw(t, "where"))
	}
	return body
}

var requestIDs = rapid.OneOf(
	rapid.StringMatching(`[a-z0-9-]{0,12}`),
	rapid.SampledFrom([]string{knownRef.TaskID, "", " ", "succeed", "failed", "https://cdn.example/o.mp4", `{}`, `[]`, `\"`, "\x00", `\u0000`, "a.mp4", " " + knownRef.TaskID}))

// mutated is a body that differs in an id of a request, or in anything.
func mutated(t *rapid.T, body string) string {
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return body
	case 1:
		at := rapid.IntRange(0, len(body)).Draw(t, "at")
		return body[:at] + rapid.SampledFrom([]string{"", "x", `"`, "\x00", "1", ",", `"request_id":"y",`}).Draw(t, "insert") + body[min(at+rapid.IntRange(0, 2).Draw(t, "cut"), len(body)):]
	default:
		before, value, after := cutRequestID([]byte(body))
		if value == nil {
			return body
		}
		return string(before) + requestIDs.Draw(t, "other id") + string(after)
	}
}

func TestOnlyIDsOfRequestsMayDiffer(t *testing.T) {
	t.Parallel()
	const running = `{"code":0,"request_id":"r-1","data":{"task_id":"867283741759111202","task_status":"processing"}}`
	for _, c := range []struct {
		name, before, now string
		same              bool
	}{
		{"the same", running, running, true},
		{"another id of the request", running, strings.Replace(running, "r-1", "r-22", 1), true},
		{"two of them", strings.Replace(running, "processing", `processing","request_id" : "a`, 1), strings.Replace(strings.Replace(running, "processing", `processing","request_id" : "b`, 1), "r-1", "r-2", 1), true},
		{"an id that names the task", running, strings.Replace(running, "r-1", knownRef.TaskID, 1), false},
		{"no id", running, strings.Replace(running, "r-1", "", 1), false},
		{"no JSON any more", running, strings.Replace(running, "r-1", "\x00", 1), false},
		{"JSON as an id", running, strings.Replace(running, "r-1", `{\"status\":\"failed\"}`, 1), false},
		{"another word", running, strings.Replace(running, "processing", "submitted", 1), false},
		{"something behind it", running, running + "1", false},
		{"it had ended", strings.Replace(running, "processing", "failed", 1), strings.Replace(running, "processing", "failed", 1), false},
		{"a word that nobody knows", strings.Replace(running, "processing", "thinking", 1), strings.Replace(running, "processing", "thinking", 1), false},
	} {
		if _, _, same := readAfter(answerOf(200, c.before), answerOf(200, c.now)); same != c.same {
			t.Errorf("%s: %v", c.name, same)
		}
	}
}
