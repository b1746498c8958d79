package poll

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

var update = flag.Bool("update", false, "write docs/replies.md")

const repliesDoc = "../../docs/replies.md"

// replyRow is one reply of a relay: a row of the error table or a shape.
type replyRow struct {
	Name   string `json:"name"`
	Status int    `json:"status"`
	File   string `json:"file"`
	Body   string `json:"body"`
}

// readReplies reads the rows and shapes that the client is tested with.
func readReplies(t *testing.T) []replyRow {
	t.Helper()
	const dir = "../../klingapi/testdata"
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	var rows []replyRow
	if err := json.Unmarshal(read("errors.json"), &rows); err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{"errors.json": true}
	for i, row := range rows {
		if row.File != "" {
			rows[i].Body = string(read(row.File))
			named[row.File] = true
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() || named[entry.Name()] {
			continue
		}
		name := strings.ReplaceAll(strings.TrimSuffix(entry.Name(), ".json"), "-", " ")
		rows = append(rows, replyRow{Name: "shape: " + name, Status: http.StatusOK, Body: string(read(entry.Name()))})
	}
	return rows
}

// The table of replies in the docs is what the code does: it is made by asking
// a server that gives each reply and by judging the answer.
func TestTheTableOfRepliesIsWhatHappens(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`# What klingwatch does on any reply

Made by ` + "`make generate`" + ` from the replies that the tests are run with; the task was pending, a minute old and an hour from its
deadline. "Asked again" is for the first such reply in a row, with ` + "`KLINGWATCH_POLL_INTERVAL=5s`" + ` and without jitter; repeated trouble
doubles the wait up to two minutes, ` + "`Retry-After`" + ` is honoured up to an hour. Five different tasks in a row that are
throttled or meet an outage slow down all tasks together. A refusal with HTTP 403 or code 1103 pauses polling once three different tasks in a
row got it; until then the task that got it backs off by itself. No row makes a task failed but a record that says so.

| reply | HTTP | understood as | outcome | the task becomes | asked again |
|---|---|---|---|---|---|
`)
	task := target(func(p *db.PollTarget) { p.Status = db.Pending; p.UpstreamStatus = "" })
	for _, row := range readReplies(t) {
		reply, err := answerOf(t, row)
		v := judge(task, Memory{}, DefaultNotFoundGrace, reply, err)
		if err != nil && v.status != db.Pending {
			t.Errorf("%s: an error made the task %s", row.Name, v.status)
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s |\n", row.Name, row.Status, understood(reply, err), v.outcome, became(v), again(v))
	}
	if *update {
		if err := os.WriteFile(repliesDoc, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(repliesDoc)
	if err != nil || string(want) != b.String() {
		t.Errorf("%s is old (%v): run make generate, and read the difference", repliesDoc, err)
	}
}

// answerOf asks a server that gives the reply.
func answerOf(t *testing.T, row replyRow) (*klingapi.Reply, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(row.Status)
		_, _ = w.Write([]byte(row.Body))
	}))
	defer server.Close()
	client, err := klingapi.New(klingapi.Config{BaseURL: server.URL, Credential: klingapi.StaticKey("k")})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ref := klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: "867283741759111202"}
	if strings.HasPrefix(row.Name, "shape: flat") {
		ref.TaskID = "866" // the id in those files
	}
	return client.GetTask(t.Context(), ref)
}

func understood(reply *klingapi.Reply, err error) string {
	var apiErr *klingapi.Error
	switch {
	case errors.As(err, &apiErr):
		return "error: " + string(apiErr.Kind)
	case reply.Record.Status == "":
		return fmt.Sprintf("record: unknown word `%s`", reply.Record.Word)
	case len(reply.Record.Outputs) > 0:
		return fmt.Sprintf("record: %s, %d outputs", reply.Record.Status, len(reply.Record.Outputs))
	}
	return "record: " + string(reply.Record.Status)
}

func became(v verdict) string {
	if v.message != "" {
		return v.status + ": " + strings.ReplaceAll(v.message, "|", `\|`)
	}
	return v.status
}

func again(v verdict) string {
	switch {
	case db.Terminal(v.status):
		return "no"
	case v.outcome == refused:
		return "when polling resumes: one probe per " + DefaultProbeDistance.String()
	}
	return pace(v, 5*time.Second, 5*time.Second, time.Hour, 0.5).String()
}
