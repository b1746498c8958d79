package klingsim_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// exchange is a request to the relay of a dialect, and its answer.
type exchange struct {
	about  string
	method string // empty: GET
	path   string
	key    string   // empty: the relay's; "none": no key
	status int      // zero: 200
	has    []string // path=value in the body; an absent value is <nil>
	text   string   // in the body
	header string   // that is there
}

const jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhayJ9.c2lnbmF0dXJl"

// exchanges show what each dialect serves and refuses.
var exchanges = map[klingsim.Dialect][]exchange{
	klingsim.Kling: {
		{about: "an official record", path: "/kling/v1/videos/text2video/quick-1", has: []string{"code=0", "data.task_status=succeed"}},
		{about: "every documented path", path: "/kling/v1/images/editing/expand/quick-1", has: []string{"data.task_status=succeed"}},
		{about: "a failure is HTTP 200, code 0", path: "/kling/v1/videos/text2video/quick-fail-1", has: []string{"code=0", "message=SUCCEED", "data.task_status=failed"}},
		{about: "another action", path: "/kling/v1/videos/text2movie/quick-1", status: 404, has: []string{"code=1203"}},
		{about: "another prefix", path: "/v1/videos/text2video/quick-1", status: 404, text: "nginx"},
		{about: "lists belong to the new family", path: "/tasks?task_ids=quick-1", status: 404, text: "nginx"},
		{about: "a wrong key", path: "/kling/v1/videos/text2video/quick-1", key: "wrong", status: 401, has: []string{"code=1002"}},
		{about: "a token of an access key", path: "/kling/v1/videos/text2video/quick-1", key: jwt, status: 401, has: []string{"code=1002"}},
		{about: "an unknown id", path: "/kling/v1/videos/text2video/unknown-1", status: 400, has: []string{"code=1201", "message=Task not found by id/external id: unknown-1"}},
	},
	klingsim.NewAPI: {
		{about: "its record around the official body", path: "/kling/v1/videos/text2video/quick-1", header: "X-Oneapi-Request-Id",
			has: []string{"code=success", "data.status=SUCCESS", "data.progress=100%", "data.submit_time=1774805076", "data.data.code=0", "data.data.data.task_status=succeed"}},
		{about: "the other path", path: "/kling/v1/videos/image2video/quick-1", has: []string{"data.status=SUCCESS", "data.action=generate"}},
		{about: "an early record is that of the creation", path: "/kling/v1/videos/text2video/never-1",
			has: []string{"data.task_id=never-1", "data.status=NOT_START", "data.progress=0%", "data.platform=50", "data.action=textGenerate", "data.start_time=0",
				"data.data.message=SUCCEED", "data.data.data.task_status=submitted", "data.result_url=<nil>"}},
		{about: "inside, the task has Kling's own id, and the answer Kling's request id", path: "/kling/v1/videos/text2video/never-1", has: []string{"data.data.data.task_id=119755810439388137"}, text: `"data":{"code":0,"message":"SUCCEED","request_id":"Cj`},
		{about: "Kling's own id is unknown", path: "/kling/v1/videos/text2video/800000000000000001", status: 400, has: []string{"code=task_not_exist"}},
		{about: "a failure repeats its reason in result_url", path: "/kling/v1/videos/text2video/quick-fail-3", has: []string{"data.status=FAILURE",
			"data.fail_reason=Failure to pass the risk control system", "data.result_url=Failure to pass the risk control system", "data.data.data.task_status=failed"}},
		{about: "an unknown id", path: "/kling/v1/videos/text2video/unknown-1", status: 400, has: []string{"code=task_not_exist", "data=<nil>"}, header: "X-Oneapi-Request-Id"},
		{about: "a wrong key", path: "/kling/v1/videos/text2video/quick-1", key: "wrong", status: 401, has: []string{"error.type=new_api_error"}, text: "Invalid token"},
		{about: "another action is a page, and asks for no key", path: "/kling/v1/images/generations/quick-1", key: "none", text: "<title>New API</title>"},
		{about: "another prefix is a page", path: "/kling/tasks/quick-1", key: "none", text: "<title>New API</title>"},
		{about: "no id is a page", path: "/kling/v1/videos/text2video", text: "<title>New API</title>"},
		{about: "below /v1 it is an error", path: "/v1/videos/text2video/quick-1", key: "none", status: 404, text: "Invalid URL (GET /v1/videos/text2video/quick-1)"},
		{about: "a creation names the id to ask for", method: http.MethodPost, path: "/kling/v1/videos/text2video", has: []string{"object=video", "status=queued"}, text: `"task_id":"task_`},
		{about: "a placeholder instead of a link", path: "/kling/v1/videos/text2video/quick-placeholderonly-1", has: []string{
			"data.result_url=http://localhost:3000/v1/videos/quick-placeholderonly-1/content", "data.data.data.task_result.videos.0.url=<nil>"}},
		{about: "the placeholder without a key", path: "/v1/videos/quick-placeholderonly-1/content", key: "none", status: 401},
		{about: "the placeholder with another key", path: "/v1/videos/quick-placeholderonly-1/content", key: "wrong", status: 403},
		{about: "the placeholder with the relay's key", path: "/v1/videos/quick-placeholderonly-1/content", text: "ftyp"},
		{about: "a failure has no placeholder", path: "/kling/v1/videos/text2video/quick-placeholderonly-fail-3", has: []string{"data.result_url=The generation service is busy, please try again later"}},
		{about: "words choose another form", path: "/kling/v1/videos/text2video/quick-flat-1", has: []string{"data.task_id=quick-flat-1", "data.format=mp4"}},
	},
	klingsim.V3: {
		{about: "a list of one", path: "/tasks?task_ids=quick-1", has: []string{"code=0", "data.0.id=quick-1", "data.0.status=succeeded", "data.0.message=",
			"data.0.create_time=1774805076166", "data.0.external_id=", "data.0.outputs.0.type=video", "data.0.outputs.0.duration=2.0"}},
		{about: "a failure says why", path: "/tasks?task_ids=quick-fail-3", has: []string{"data.0.status=failed", "data.0.message=Failure to pass the risk control system", "data.0.outputs.0=<nil>"}},
		{about: "below /kling", path: "/kling/tasks?task_ids=quick-1", has: []string{"data.0.id=quick-1"}},
		{about: "the caller's own id", path: "/tasks?external_task_ids=quick-order-7", has: []string{"data.0.external_id=quick-order-7", "data.0.status=succeeded"}, text: `"id":"quick-Cj`},
		{about: "one task by its path", path: "/kling/tasks/quick-1", has: []string{"data.0.id=quick-1"}},
		{about: "a path with the model, dot and all", path: "/kling/text-to-video/kling-3.0-turbo/quick-1", has: []string{"data.0.outputs.0.type=video"}},
		{about: "an image", path: "/kling/text-to-image/kling-v3-omni/quick-1", has: []string{"data.0.outputs.0.type=image"}},
		{about: "images of an image", path: "/kling/image-to-image/kling-v3-omni/quick-1", has: []string{"data.0.outputs.0.type=image"}},
		{about: "a video of an image", path: "/kling/image-to-video/kling-v3-omni/quick-1", has: []string{"data.0.outputs.0.type=video"}},
		{about: "among the old paths", path: "/kling/v1/videos/text-to-video/quick-1", has: []string{"data.0.id=quick-1"}},
		{about: "the old paths stay", path: "/kling/v1/videos/text2video/quick-1", has: []string{"data.task_status=succeed"}},
		{about: "an unknown id", path: "/tasks?task_ids=unknown-1", has: []string{"code=0"}, text: `"data":[]`},
		{about: "an unknown id in the path", path: "/kling/tasks/unknown-1", has: []string{"code=0"}, text: `"data":[]`},
		{about: "no id", path: "/tasks", status: 400, has: []string{"code=1201"}},
		{about: "no id in the path", path: "/kling/tasks/", status: 404, has: []string{"code=1203"}},
		{about: "no model", path: "/kling/text-to-video/", status: 404, has: []string{"code=1203"}},
		{about: "too much of a path", path: "/kling/text-to-video/kling-v3-omni/a/b", status: 404, has: []string{"code=1203"}},
		{about: "another prefix", path: "/v2/tasks/quick-1", status: 404, text: "nginx"},
		{about: "a list cannot be posted to", method: http.MethodPost, path: "/tasks", status: 404, has: []string{"code=1202"}},
		{about: "a creation", method: http.MethodPost, path: "/kling/text-to-video/kling-v3-omni", has: []string{"data.0.status=submitted"}},
		{about: "a wrong key", path: "/tasks?task_ids=quick-1", key: "wrong", status: 401, has: []string{"code=1002"}},
		{about: "a token of an access key", path: "/kling/tasks/quick-1", key: jwt, status: 401, has: []string{"code=1002"}},
		{about: "the same token on an old path", path: "/kling/v1/videos/text2video/quick-1", key: jwt, has: []string{"data.task_status=succeed"}},
	},
	klingsim.Flat: {
		{about: "one URL", path: "/kling/v1/videos/text2video/quick-1", has: []string{"code=success", "data.task_id=quick-1", "data.error=<nil>"}, text: "/files/quick-1-videos-0.mp4"},
		{about: "below /v1", path: "/v1/videos/text2video/quick-1", has: []string{"code=success", "data.task_id=quick-1"}},
		{about: "a list of files", path: "/v1/videos/text2video/quick-flatlist-1", has: []string{"id=quick-flatlist-1", "status=completed"}, text: `"data":[{"url":`},
		{about: "a failure", path: "/v1/videos/text2video/quick-fail-3", has: []string{"data.error.message=Failure to pass the risk control system", "data.url="}},
		{about: "an unknown id", path: "/v1/videos/text2video/unknown-1", status: 404, has: []string{"code=task_not_found", "message=task not found"}},
		{about: "a wrong key is an error under HTTP 200", path: "/v1/videos/text2video/quick-1", key: "wrong", has: []string{"code=401", "data=<nil>"}},
		{about: "another action", path: "/v1/videos/text2movie/quick-1", status: 404, text: "nginx"},
		{about: "another prefix", path: "/v2/videos/text2video/quick-1", status: 404, text: "nginx"},
	},
}

func TestWhatEachDialectAnswers(t *testing.T) {
	t.Parallel()
	for dialect, rows := range exchanges {
		for _, row := range rows {
			t.Run(string(dialect)+": "+row.about, func(t *testing.T) {
				t.Parallel()
				row.check(t, benchOf(dialect))
			})
		}
	}
}

func benchOf(dialect klingsim.Dialect, change ...func(*klingsim.Config)) *bench {
	return newBench(append(change, func(c *klingsim.Config) { c.Dialect = dialect })...)
}

func (e exchange) check(t *testing.T, b *bench) {
	t.Helper()
	authorization := map[string]string{"": "Bearer " + key, "none": ""}
	if _, ok := authorization[e.key]; !ok {
		authorization[e.key] = "Bearer " + e.key
	}
	method := e.method
	if method == "" {
		method = http.MethodGet
	}
	p := b.do(method, e.path, authorization[e.key], "")
	status := e.status
	if status == 0 {
		status = http.StatusOK
	}
	if p.status != status || !strings.Contains(p.body, e.text) {
		t.Errorf("HTTP %d, want %d with %q: %s", p.status, status, e.text, p.body)
	}
	for _, want := range e.has {
		if name, value, _ := strings.Cut(want, "="); fmt.Sprint(p.at(name)) != value {
			t.Errorf("%s is %v, want %s: %s", name, p.at(name), value, p.body)
		}
	}
	if e.header != "" && p.header.Get(e.header) == "" {
		t.Errorf("no %s", e.header)
	}
}

// What klingapi understands of a task that succeeds, fails, runs, is unknown, and with a wrong key.
func TestEachDialectIsUnderstood(t *testing.T) {
	t.Parallel()
	old := klingapi.Ref{Action: "videos", Action2: "text2video"}
	for _, c := range []struct {
		dialect klingsim.Dialect
		ref     klingapi.Ref
	}{
		{klingsim.Kling, old},
		{klingsim.NewAPI, old},
		{klingsim.NewAPI, klingapi.Ref{Action: "videos", Action2: "image2video"}},
		{klingsim.V3, old},
		{klingsim.V3, klingapi.Ref{Action: "videos", Action2: "text-to-video"}},
		{klingsim.Flat, old},
	} {
		b := benchOf(c.dialect)
		for _, want := range []struct{ id, understood string }{
			{"quick-1", "succeeded, video"},
			{"quick-fail-1", "failed"},
			{"never-1", "submitted"},
			{"never-1", "processing"},
			{"unknown-1", "not_found"},
			{"throttle-1", "throttled"},
		} {
			c.ref.TaskID = want.id
			if got := b.understoodAt(t, c.ref); got != want.understood {
				t.Errorf("%s: %v: %s, want %s", c.dialect, c.ref, got, want.understood)
			}
			b.clock.Advance(ages)
		}
		b.SetThrottle(true, "1")
		if got := b.understoodAt(t, c.ref); got != "throttled" {
			t.Errorf("%s: %s by a throttled relay", c.dialect, got)
		}
		b.SetThrottle(false, "")
		b.SetOutage(http.StatusServiceUnavailable)
		if got := b.understoodAt(t, c.ref); got != "unavailable" {
			t.Errorf("%s: %s by a relay that is down", c.dialect, got)
		}
		b.SetOutage(0)
		b.SetKey("another")
		if got := b.understoodAt(t, c.ref); got != "refused" {
			t.Errorf("%s: %s by a relay with another key", c.dialect, got)
		}
	}
}

// With its own link instead of the file's, a client knows that the file needs the key.
func TestThePlaceholderOfNewAPIIsUnderstood(t *testing.T) {
	t.Parallel()
	b := benchOf(klingsim.NewAPI)
	for id, want := range map[string]string{
		"quick-placeholderonly-1":     "succeeded, video with key",
		"quick-placeholder-1":         "succeeded, video",
		"relaytimeout-always-quick-1": "failed, by relay",
	} {
		if got := b.understood(t, id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

// New-api and Kling's new family find a task on other paths than its own; Kling's old API does not.
func TestWhereATaskIsFound(t *testing.T) {
	t.Parallel()
	for dialect, path := range map[klingsim.Dialect]string{
		klingsim.NewAPI: "/kling/v1/videos/image2video/",
		klingsim.V3:     "/tasks?task_ids=",
		klingsim.Kling:  "/kling/v1/videos/image2video/",
	} {
		b := benchOf(dialect)
		born := fmt.Sprint(b.clock.Now().Unix()) // in seconds or, followed by more digits, milliseconds
		p := b.do(http.MethodPost, "/kling/v1/videos/text2video", "Bearer "+key, `{"external_task_id":"fail-order-7"}`)
		id, _ := p.at("data.task_id").(string)
		if id == "" {
			id, _ = p.at("task_id").(string)
		}
		b.clock.Advance(ages)
		p = b.do(http.MethodGet, path+id, "Bearer "+key, "")
		found := strings.Contains(p.body, born)
		if shared := dialect != klingsim.Kling; found != shared {
			t.Errorf("%s: found: %v: %s", dialect, found, p.body)
		}
	}
}

func TestTheExampleOfEachDialectWorks(t *testing.T) {
	t.Parallel()
	for _, dialect := range []klingsim.Dialect{"", klingsim.Kling, klingsim.NewAPI, klingsim.V3, klingsim.Flat} {
		b := benchOf(dialect)
		if p := b.do(http.MethodGet, b.Example(), "Bearer "+key, ""); p.status != http.StatusOK || !strings.Contains(p.body, `"ok-1"`) {
			t.Errorf("%s: HTTP %d %s", dialect, p.status, p.body)
		}
	}
}

func TestThereIsNoOtherDialect(t *testing.T) {
	t.Parallel()
	defer func() {
		if said := recover(); said != "klingsim: there is no dialect klingon" {
			t.Errorf("%v", said)
		}
	}()
	benchOf("klingon")
}
