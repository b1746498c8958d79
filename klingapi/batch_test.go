package klingapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/klingwatch/klingwatch/klingapi"
)

// askAll has a server answer a request for several ids of videos, and returns what the
// client makes of it.
func askAll(t *testing.T, status int, header http.Header, body string, ids ...string) ([]klingapi.Answer, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}))
	defer server.Close()
	return newClient(t, klingapi.Config{BaseURL: server.URL, TaskPath: officialTasks}).GetTasks(t.Context(), videos(ids...))
}

func videos(ids ...string) []klingapi.Ref {
	refs := make([]klingapi.Ref, len(ids))
	for i, id := range ids {
		refs[i] = klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: id}
	}
	return refs
}

// outcome is an answer in a few words: id and status of the record, or the kind of the
// error.
func outcome(t *testing.T, a klingapi.Answer) string {
	t.Helper()
	if (a.Err == nil) == (a.Reply == nil) {
		t.Fatalf("either a reply or an error: %+v", a)
	}
	if a.Err != nil {
		return string(kindOf(t, a.Err).Kind)
	}
	return a.Reply.Record.TaskID + " " + string(a.Reply.Record.Status)
}

func outcomes(t *testing.T, answers []klingapi.Answer) []string {
	t.Helper()
	var all []string
	for _, a := range answers {
		all = append(all, outcome(t, a))
	}
	return all
}

// Answers to several ids, and what they say of each.
var batchShapes = []struct {
	name string
	ids  string // that are asked for
	body string
	want string
}{
	{"Kling's new family", "A B",
		`{"code":0,"message":"SUCCEED","data":[{"id":"A","status":"processing","message":""},{"id":"B","status":"succeeded","outputs":[{"type":"video","url":"https://cdn.example/B.mp4"}]}]}`,
		"A processing, B succeeded"},
	{"in another order", "A B",
		`{"code":0,"data":[{"id":"B","status":"processing"},{"id":"A","status":"submitted"}]}`, "A submitted, B processing"},
	{"an unknown id is left out", "A NO B",
		`{"code":0,"data":[{"id":"A","status":"processing"},{"id":"B","status":"submitted"}]}`, "A processing, not_found, B submitted"},
	{"all ids are unknown", "A B", `{"code":0,"message":"SUCCEED","data":[]}`, "not_found, not_found"},
	{"all ids are unknown to a list within", "A B", `{"code":0,"data":{"tasks":[],"total":0}}`, "not_found, not_found"},
	{"all ids are unknown to a map", "A B", `{"code":"success","message":"","data":{}}`, "not_found, not_found"},
	{"null for nothing", "A B", `{"code":"success","message":"","data":null}`, "not_found, not_found"},
	{"a bare empty list", "A B", `[]`, "not_found, not_found"},
	{"only others' tasks", "A B", `{"code":0,"data":[{"id":"C","status":"processing"}]}`, "not_found, not_found"},
	{"an id twice", "A B A", `{"code":0,"data":[{"id":"A","status":"processing"},{"id":"B","status":"submitted"}]}`, "A processing, B submitted, A processing"},
	{"a record twice", "A B", `{"code":0,"data":[{"id":"A","status":"processing"},{"id":"A","status":"submitted"}]}`, "A processing, not_found"},
	{"one has failed", "A B",
		`{"code":0,"data":[{"id":"A","status":"failed","message":"flagged"},{"id":"B","status":"processing"}]}`, "A failed, B processing"},
	{"one is an error", "A B C",
		`{"code":0,"data":[{"id":"A","error":{"code":"task_not_found","message":"task not found"}},{"id":"B","status":"processing"},{"id":"C","code":5000,"message":"try later"}]}`,
		"not_found, B processing, unavailable"},
	{"one has no status", "A B", `{"code":0,"data":[{"id":"A"},{"id":"B","status":"processing"}]}`, "unreadable, B processing"},
	{"external ids", "job-7 job-8",
		`{"code":0,"data":[{"id":"1","external_id":"job-8","status":"processing"},{"id":"2","external_id":"job-7","status":"submitted"}]}`, "2 submitted, 1 processing"},
	{"external ids of the old family", "job-7 B",
		`{"code":0,"data":[{"task_id":"1","task_status":"processing","task_info":{"external_task_id":"job-7"}},{"task_id":"B","task_status":"submitted"}]}`, "1 processing, B submitted"},
	{"both names of a task", "A job-7", `{"code":0,"data":[{"id":"A","external_id":"job-7","status":"processing"}]}`, "A processing, A processing"},
	{"one's external id is another's id", "A B",
		`{"code":0,"data":[{"id":"A","external_id":"B","status":"processing"},{"id":"B","external_id":"A","status":"submitted"}]}`, "A processing, B submitted"},
	{"a row number beside the id", "1 task_A",
		`{"code":"success","data":[{"id":1,"task_id":"task_A","status":"IN_PROGRESS","progress":"3%"},{"id":2,"task_id":"1","status":"QUEUED"}]}`, "1 submitted, task_A processing"},
	{"ids as numbers", "867283741759111202 867283741759111203",
		`{"code":0,"data":[{"id":867283741759111203,"status":"processing"},{"id":867283741759111202,"status":"submitted"}]}`, "867283741759111202 submitted, 867283741759111203 processing"},
	{"a map by id", "A NO B",
		`{"code":0,"data":{"A":{"status":"processing"},"B":{"task_status":"submitted"},"count":2}}`, "A processing, not_found, B submitted"},
	{"a map by id with null", "A B", `{"code":0,"data":{"A":null,"B":{"id":"B","status":"processing"}}}`, "not_found, B processing"},
	{"a bare map by id", "A B", `{"A":{"status":"processing"},"B":{"status":"submitted"}}`, "A processing, B submitted"},
	{"a map by the relay's ids", "job-7 B",
		`{"code":0,"data":{"A":{"external_id":"job-7","id":"A","status":"processing"},"B":{"id":"B","status":"submitted"}}}`, "A processing, B submitted"},
	{"a map by ids with capitals", "CjMT7WdS B", `{"code":0,"data":{"CjMT7WdS":{"taskStatus":"processing"},"B":{"taskStatus":"submitted"}}}`, "CjMT7WdS processing, B submitted"},
	{"tasks within", "A B", `{"code":0,"data":{"tasks":[{"task_id":"B","task_status":"processing"},{"task_id":"A","task_status":"submitted"}]}}`, "A submitted, B processing"},
	{"a list within", "A B", `{"code":0,"data":{"list":[{"id":"A","status":"processing"},{"id":"B","status":"submitted"}],"total":2}}`, "A processing, B submitted"},
	{"items within", "A B", `{"code":0,"data":{"items":[{"id":"A","status":"processing"},{"id":"B","status":"submitted"}],"has_more":false}}`, "A processing, B submitted"},
	{"a bare list", "A B", `[{"id":"A","status":"processing"},{"id":"B","status":"submitted"}]`, "A processing, B submitted"},
	{"a list in a string", "A B", `{"code":0,"data":"[{\"id\":\"A\",\"status\":\"processing\"},{\"id\":\"B\",\"status\":\"submitted\"}]"}`, "A processing, B submitted"},
	{"new-api around each", "task_A task_B",
		`{"code":"success","message":"","data":[{"id":7,"task_id":"task_B","status":"SUCCESS","result_url":"https://cdn.example/B.mp4","data":{"code":0,"data":{"task_id":"867","task_status":"succeed"}}},
		  {"id":8,"task_id":"task_A","status":"IN_PROGRESS","progress":"30%","data":{"code":0,"data":{"task_id":"868","task_status":"processing"}}}]}`, "task_A processing, task_B succeeded"},
	{"new-api around all", "A B",
		`{"code":"success","message":"","data":{"code":0,"message":"SUCCEED","data":[{"id":"A","status":"processing"},{"id":"B","status":"submitted"}]}}`, "A processing, B submitted"},
	{"an envelope around each", "A B",
		`{"code":0,"data":[{"code":0,"message":"SUCCEED","data":{"task_id":"B","task_status":"processing"}},{"status":"success","data":{"task_id":"A","task_status":"submitted"}}]}`, "A submitted, B processing"},
	{"an envelope with a status", "A B", `{"status":"success","request_id":"r","data":[{"id":"A","status":"processing"},{"id":"B","status":"submitted"}]}`, "A processing, B submitted"},
	{"an envelope that repeats an id", "A B", `{"status":"success","task_id":"A","data":[{"id":"A","status":"processing"},{"id":"B","status":"submitted"}]}`, "A processing, B submitted"},
	{"a record beside the list", "A B", `{"code":0,"previous":{"id":"A","status":"submitted"},"data":[{"id":"A","status":"processing"},{"id":"B","status":"submitted"}]}`, "A processing, B submitted"},
	{"capitals", "A B", `{"Code":0,"Data":{"Tasks":[{"TaskId":"B","TaskStatus":"processing"},{"TaskId":"A","TaskStatus":"submitted"}]}}`, "A submitted, B processing"},
	{"one id, one record", "A", `{"code":0,"data":{"id":"A","status":"processing"}}`, "A processing"},
	{"one id, one bare record", "A", `{"id":"A","status":"completed","data":[{"url":"https://cdn.example/A.mp4"}]}`, "A succeeded"},
	{"one id in new-api", "task_A", `{"code":"success","data":{"id":7,"task_id":"task_A","status":"IN_PROGRESS","data":{"code":0,"data":{"task_id":"867","task_status":"processing"}}}}`, "task_A processing"},
	{"a code that means nothing", "A B", `{"code":7,"message":"partly","data":[{"id":"A","status":"processing"}]}`, "A processing, unreadable"},
	{"one record where two were asked for", "A B", `{"code":0,"data":{"id":"A","status":"processing"}}`, "A processing, unreadable"}, // it may not take several ids
	{"a page of a longer list", "A B", `{"code":0,"data":{"list":[{"id":"A","status":"processing"}],"total":40}}`, "A processing, unreadable"},
	{"an empty id beside others", "A ", `{"code":0,"data":[{"id":"A","status":"processing"},{"status":"submitted"}]}`, "A processing, rejected"},
}

func TestEachTaskGetsItsOwnRecord(t *testing.T) {
	t.Parallel()
	for _, c := range batchShapes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ids := strings.Split(c.ids, " ")
			answers, err := askAll(t, 200, http.Header{"X-Request-Id": {"r-1"}}, c.body, ids...)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(outcomes(t, answers), ", "); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			for i, a := range answers {
				checkShare(t, a, ids[i])
			}
		})
	}
}

// checkShare checks that an answer is whole, and that its body says the same when it is
// read alone.
func checkShare(t *testing.T, a klingapi.Answer, id string) {
	t.Helper()
	if a.Err != nil {
		if got := kindOf(t, a.Err); got.Message == "" || id != "" && (got.HTTPStatus != 200 || got.RequestID != "r-1") {
			t.Errorf("%s: %+v", id, got)
		}
		return
	}
	if !json.Valid(a.Reply.Body) || a.Reply.RequestID != "r-1" || a.Reply.HTTPStatus != 200 {
		t.Errorf("%s: %+v", id, a.Reply)
	}
	again, err := ask(t, videos(id)[0], 200, http.Header{"X-Request-Id": {"r-1"}}, a.Reply.Body)
	if err != nil || again.Record.TaskID != a.Reply.Record.TaskID || again.Record.Status != a.Reply.Record.Status {
		t.Errorf("%s: read alone, its body is %+v, %v: %s", id, again, err, a.Reply.Body)
	}
}

func TestTheBodyOfATaskHoldsItsRecordOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, want string }{
		{`{"code":0,"message":"SUCCEED","request_id":"r","data":[{"id":"B","status":"processing"},{"id":"A","status":"submitted","x":1.50}]}`,
			`{"code":0,"data":[{"id":"A","status":"submitted","x":1.50}],"message":"SUCCEED","request_id":"r"}`},
		{`{"data":{"A":{"status":"submitted"},"B":{"status":"processing"},"count":2}}`, `{"data":{"A":{"status":"submitted"},"count":2}}`},
		{`{"data":{"tasks":[{"id":"B","status":"processing"},{"id":"A","status":"submitted"}],"list":[{"id":"B"}],"total":2}}`,
			`{"data":{"tasks":[{"id":"A","status":"submitted"}],"total":2}}`},
		{`{"Data":[{"TaskId":"B","TaskStatus":"processing"},{"TaskId":"A","TaskStatus":"submitted"}]}`, `{"Data":[{"TaskId":"A","TaskStatus":"submitted"}]}`}, // keys as received
		{`{"data":[{"id":"A","status":"submitted","message":"a\u0000b","n":1e999999},{"id":"B","status":"processing"}]}`,
			`{"data":[{"id":"A","message":"a` + "\uFFFD" + `b","n":"1e999999","status":"submitted"}]}`}, // what Postgres refuses is replaced
		{`{"data":[{"id":"A","status":"submitted","url":"data:image/png;base64,` + strings.Repeat("x", 100) + `"},{"id":"B","status":"processing"}]}`,
			`{"data":[{"id":"A","status":"submitted","url":"data:image/png;base64,` + strings.Repeat("x", 42) + `... (122 bytes)"}]}`},
	} {
		answers, err := askAll(t, 200, nil, c.body, "A", "B")
		if err != nil {
			t.Fatal(err)
		}
		if got := string(answers[0].Reply.Body); got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
	}
}

// Twenty ids are what Kling takes at once.
func TestOneOfTwentyIsMissing(t *testing.T) {
	t.Parallel()
	var ids, records []string
	for i := range 20 {
		ids = append(ids, fmt.Sprintf("8672837417591112%02d", i))
		if i != 13 {
			records = append(records, fmt.Sprintf(`{"id":%q,"status":"succeeded","outputs":[{"type":"video","url":"https://cdn.example/%d.mp4"}]}`, ids[i], i))
		}
	}
	slices.Reverse(records)
	answers, err := askAll(t, 200, nil, `{"code":0,"message":"SUCCEED","data":[`+strings.Join(records, ",")+`]}`, ids...)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		if i == 13 {
			if got := kindOf(t, a.Err); got.Kind != klingapi.NotFound || got.Message != "the answer has no record of it" {
				t.Errorf("the missing one: %v", a.Err)
			}
			continue
		}
		if a.Err != nil || a.Reply.Record.TaskID != ids[i] || a.Reply.Record.Outputs[0].URL != fmt.Sprintf("https://cdn.example/%d.mp4", i) || strings.Count(string(a.Reply.Body), `"id"`) != 1 {
			t.Errorf("%s: %+v", ids[i], a)
		}
	}
}

// An answer that is no good one says nothing of any task.
func TestABadAnswerIsOneErrorForAll(t *testing.T) {
	t.Parallel()
	const record = `[{"id":"A","status":"processing"}]`
	for name, c := range map[string]struct {
		status int
		body   string
		want   klingapi.ErrorKind
		code   string
	}{
		"too many ids":            {400, `{"code":1201,"message":"task_ids: at most 20","request_id":"r-9"}`, klingapi.Rejected, "1201"},
		"not found at all":        {400, `{"code":1201,"message":"Task not found by id/external id: A","request_id":"r-9"}`, klingapi.NotFound, "1201"},
		"a refused key":           {401, `{"code":1002,"message":"invalid","request_id":"r-9"}`, klingapi.Refused, "1002"},
		"too fast":                {429, `{"code":1302,"message":"too fast","request_id":"r-9"}`, klingapi.Throttled, "1302"},
		"too fast, with a record": {429, `{"code":1302,"message":"too fast","request_id":"r-9","data":` + record + `}`, klingapi.Throttled, "1302"},
		"a code within HTTP 200":  {200, `{"code":5000,"message":"internal","request_id":"r-9","data":` + record + `}`, klingapi.Unavailable, "5000"},
		"an error of a gateway":   {502, `{"error":{"message":"boom","type":"upstream_error"},"request_id":"r-9"}`, klingapi.Unavailable, "upstream_error"},
		"a page":                  {200, `<html>relay</html>`, klingapi.Misconfigured, ""},
		"a page of a gateway":     {503, `<html>maintenance</html>`, klingapi.Unavailable, ""},
		"no JSON":                 {200, `{"code":0,"data":[`, klingapi.Unreadable, ""},
		"no task in it":           {200, `{"code":0,"message":"SUCCEED","request_id":"r-9"}`, klingapi.Unreadable, "0"},
		"others' tasks, paged":    {200, `{"code":0,"request_id":"r-9","data":{"list":[{"id":"C","status":"processing"}],"has_more":true}}`, klingapi.Unreadable, "0"},
		"another's record":        {200, `{"code":0,"request_id":"r-9","data":{"id":"C","status":"processing"}}`, klingapi.Unreadable, "0"},
		"success is false":        {200, `{"success":false,"request_id":"r-9","message":"busy","data":[]}`, klingapi.Unreadable, ""},
	} {
		answers, err := askAll(t, c.status, http.Header{"Retry-After": {"7"}}, c.body, "A", "B")
		if answers != nil || err == nil {
			t.Errorf("%s: %+v", name, answers)
			continue
		}
		got := kindOf(t, err)
		if got.Kind != c.want || got.HTTPStatus != c.status || got.Code != c.code || got.RetryAfter != 7*time.Second || got.Message == "" {
			t.Errorf("%s: %+v", name, got)
		}
		if strings.Contains(c.body, "r-9") && got.RequestID != "r-9" {
			t.Errorf("%s: request id %q", name, got.RequestID)
		}
	}
}

func TestTasksThatCannotBeAskedForTogether(t *testing.T) {
	t.Parallel()
	a, b := videos("A", "B")[0], klingapi.Ref{Action: "images", Action2: "generations", TaskID: "B"}
	for template, refs := range map[string][]klingapi.Ref{
		"":                           {a, videos("B")[0]}, // takes one id
		"/{action}?ids={task_ids}":   {a, b},
		"/tasks?task_ids={task_ids}": {{}, {}},
	} {
		path, err := requestOf(t, template, refs...)
		if got := kindOf(t, err); got.Kind != klingapi.Rejected || path != "" {
			t.Errorf("%s: %v, asked %s", template, err, path)
		}
	}
	if path, _ := requestOf(t, officialTasks, a, b); path != "/tasks?task_ids=A,B" {
		t.Errorf("of one place: %s", path)
	}
	if path, err := requestOf(t, officialTasks); path != "" || err != nil {
		t.Errorf("no task: %s, %v", path, err)
	}
}

// Where actions share a place, each record is read as that of its action.
func TestEachRecordIsReadByItsAction(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"code":0,"data":[{"id":"A","status":"succeeded","outputs":[{"url":"https://cdn.example/a"}]},{"id":"B","status":"succeeded","outputs":[{"url":"https://cdn.example/b"}]}]}`)
	}))
	defer server.Close()
	client := newClient(t, klingapi.Config{BaseURL: server.URL, TaskPath: officialTasks})
	answers, err := client.GetTasks(t.Context(), []klingapi.Ref{{Action: "images", Action2: "generations", TaskID: "A"}, {Action: "audio", Action2: "text-to-audio", TaskID: "B"}})
	if err != nil {
		t.Fatal(err)
	}
	if image, audio := answers[0].Reply.Record.Outputs[0].Kind, answers[1].Reply.Record.Outputs[0].Kind; image != klingapi.Image || audio != klingapi.Audio {
		t.Errorf("%s, %s", image, audio)
	}
}

// One id is asked for in the same place, and read as anywhere else.
func TestOneTaskIsAskedForWhereSeveralAre(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"code":0,"message":"SUCCEED","data":[]}`:                      "not_found",
		`{"code":0,"data":[{"id":"A","status":"processing"}]}`:          "processing",
		`{"code":0,"data":[{"id":"another","status":"processing"}]}`:    "processing", // relays answer with ids of their own
		`{"code":0,"data":{"A":{"status":"processing"}}}`:               "processing",
		`{"code":5000,"data":[{"id":"A","task_status":"processing"}]}`:  "processing", // a record counts more than the code
		`{"code":1201,"message":"Task not found by id/external id: A"}`: "not_found",
	} {
		var path string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path = r.RequestURI
			_, _ = fmt.Fprint(w, body)
		}))
		reply, err := newClient(t, klingapi.Config{BaseURL: server.URL, TaskPath: officialTasks}).GetTask(t.Context(), videos("A")[0])
		server.Close()
		got := ""
		if err != nil {
			got = string(kindOf(t, err).Kind)
		} else {
			got = string(reply.Record.Status)
		}
		if got != want || path != "/tasks?task_ids=A" {
			t.Errorf("%s: %s (%v), want %s; asked %s", body, got, err, want, path)
		}
	}
}

func TestABatchLearnsTheRelaysClock(t *testing.T) {
	t.Parallel()
	credential, err := klingapi.NewAccessKey("ak", "sk")
	if err != nil {
		t.Fatal(err)
	}
	relayNow := time.Now().Add(-time.Hour)
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", relayNow.UTC().Format(http.TimeFormat))
		_, err := jwt.Parse(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "),
			func(*jwt.Token) (any, error) { return []byte("sk"), nil }, jwt.WithTimeFunc(func() time.Time { return relayNow }))
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, coded(1003, "Authorization is not yet valid"))
			return
		}
		_, _ = fmt.Fprint(w, `{"code":0,"data":[]}`)
	}))
	defer relay.Close()
	client := newClient(t, klingapi.Config{BaseURL: relay.URL, TaskPath: officialTasks, Credential: credential})
	if _, err = client.GetTasks(t.Context(), videos("A", "B")); kindOf(t, err).Kind != klingapi.TokenTime {
		t.Fatalf("by our clock: %v", err)
	}
	if _, err := client.GetTasks(t.Context(), videos("A", "B")); err != nil {
		t.Errorf("by the relay's clock: %v", err)
	}
}

func TestABatchThatGetsNoAnswer(t *testing.T) {
	t.Parallel()
	client := newClient(t, klingapi.Config{BaseURL: nobody, TaskPath: officialTasks})
	if _, err := client.GetTasks(t.Context(), videos("A", "B")); kindOf(t, err).Kind != klingapi.Unreachable {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.GetTasks(ctx, videos("A", "B")); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that stops: %v", err)
	}
}
