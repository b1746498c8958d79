package klingapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/klingapi"
)

const officialTasks = "/tasks?task_ids={task_ids}"

// requestOf returns the request line that a relay gets, and the error of the client.
func requestOf(t *testing.T, template string, refs ...klingapi.Ref) (string, error) {
	t.Helper()
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.RequestURI }))
	defer server.Close()
	client := newClient(t, klingapi.Config{BaseURL: server.URL, TaskPath: template})
	_, err := client.GetTasks(t.Context(), refs)
	return got, err
}

// The forms of addresses that relays are known to have.
func TestATaskIsAskedForWhereItsTemplateSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ template, path string }{
		{"", "/kling/v1/videos/text2video/ID"},
		{"/kling/v1/{action}/{action2}/{task_id}", "/kling/v1/videos/text2video/ID"},
		{"/v1/{action}/{action2}/{task_id}", "/v1/videos/text2video/ID"},
		{"/kling/{action}/{action2}/{task_id}", "/kling/videos/text2video/ID"},
		{"/kling/tasks/{task_id}", "/kling/tasks/ID"},
		{"/tasks?task_ids={task_ids}", "/tasks?task_ids=ID"},
		{"/kling/tasks?task_ids={task_ids}", "/kling/tasks?task_ids=ID"},
		{"/{action}?of={action2}&id={task_id}&v=1", "/videos?of=text2video&id=ID&v=1"},
		{"/a%2Fb/{task_id}.json", "/a%2Fb/ID.json"},
		{"/tasks/{task_ids}/", "/tasks/ID/"},
	} {
		got, _ := requestOf(t, c.template, klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: "ID"})
		if got != c.path {
			t.Errorf("%s: %s, want %s", c.template, got, c.path)
		}
	}
}

func TestAnIDNeverLeavesItsPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ id, inPath, inQuery string }{
		{"867283741759111202", "867283741759111202", "867283741759111202"},
		{"task_01J.a~b-c", "task_01J.a~b-c", "task_01J.a~b-c"},
		{"a/../b", "a%2F..%2Fb", "a%2F..%2Fb"},
		{"../../admin", "..%2F..%2Fadmin", "..%2F..%2Fadmin"},
		{"a?b=c", "a%3Fb=c", "a%3Fb%3Dc"},
		{"a#b", "a%23b", "a%23b"},
		{"a&task_ids=b", "a&task_ids=b", "a%26task_ids%3Db"},
		{"a%2Fb", "a%252Fb", "a%252Fb"},
		{"%2e%2e", "%252e%252e", "%252e%252e"},
		{"a,b", "a%2Cb", "a%2Cb"},
		{"a b+c", "a%20b+c", "a%20b%2Bc"},
		{"a;b", "a%3Bb", "a%3Bb"},
		{"a\r\nHost: x", "a%0D%0AHost:%20x", "a%0D%0AHost%3A%20x"},
		{"名\x00\xff", "%E5%90%8D%00%FF", "%E5%90%8D%00%FF"},
		{"{task_id}", "%7Btask_id%7D", "%7Btask_id%7D"},
	} {
		ref := klingapi.Ref{Action: "videos", Action2: "lip-sync", TaskID: c.id}
		for template, want := range map[string]string{
			"":                       "/kling/v1/videos/lip-sync/" + c.inPath,
			"/kling/tasks/{task_id}": "/kling/tasks/" + c.inPath,
			"/tasks?id={task_id}":    "/tasks?id=" + c.inQuery,
			officialTasks:            "/tasks?task_ids=" + c.inQuery,
		} {
			if got, _ := requestOf(t, template, ref); got != want {
				t.Errorf("%q in %s: %s, want %s", c.id, template, got, want)
			}
		}
		next := klingapi.Ref{TaskID: "next"}
		if got, _ := requestOf(t, officialTasks, ref, next, ref); got != "/tasks?task_ids="+c.inQuery+",next" {
			t.Errorf("%q in a list of the query: %s", c.id, got)
		}
		if got, _ := requestOf(t, "/tasks/{task_ids}", next, ref); got != "/tasks/next,"+c.inPath {
			t.Errorf("%q in a list of the path: %s", c.id, got)
		}
	}
}

// Servers resolve %2E%2E as they do .., so that no escape keeps such an id in its place.
func TestAnIDWithoutAPlaceIsNotAskedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		template string
		ref      klingapi.Ref
	}{
		{"", klingapi.Ref{Action: "videos", Action2: "lip-sync", TaskID: ".."}},
		{"", klingapi.Ref{Action: "videos", Action2: "lip-sync", TaskID: "."}},
		{"", klingapi.Ref{Action: "videos", Action2: "lip-sync"}},
		{"", klingapi.Ref{Action: "videos", Action2: "../images", TaskID: "a"}},
		{"/tasks/{task_ids}", klingapi.Ref{TaskID: ".."}},
		{"/tasks/.{task_id}", klingapi.Ref{TaskID: "."}},
		{officialTasks, klingapi.Ref{}},
	} {
		got, err := requestOf(t, c.template, c.ref)
		if kind := kindOf(t, err); kind.Kind != klingapi.Rejected || got != "" {
			t.Errorf("%q in %s: %v, asked %s", c.ref.TaskID, c.template, err, got)
		}
	}
	if got, _ := requestOf(t, officialTasks, klingapi.Ref{TaskID: ".."}); got != "/tasks?task_ids=.." {
		t.Errorf("in a query it is harmless: %s", got)
	}
}

// The actions of newer models hold slashes, dots and capitals.
func TestASlashOfAnActionIsPartOfThePath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ action, action2, path string }{
		{"videos", "avatar/image2video", "/kling/v1/videos/avatar/image2video/ID"},
		{"text-to-video", "kling-3.0-turbo", "/kling/v1/text-to-video/kling-3.0-turbo/ID"},
		{"Videos", "Kling_V3/omni/x", "/kling/v1/Videos/Kling_V3/omni/x/ID"},
		{"videos", "a?b#c d%2F", "/kling/v1/videos/a%3Fb%23c%20d%252F/ID"},
	} {
		if got, _ := requestOf(t, "", klingapi.Ref{Action: c.action, Action2: c.action2, TaskID: "ID"}); got != c.path {
			t.Errorf("%s, want %s", got, c.path)
		}
	}
}

func TestABadTemplateIsRefusedWithAnExample(t *testing.T) {
	t.Parallel()
	for template, says := range map[string]string{
		"":                                        "begin with a slash",
		"kling/tasks/{task_id}":                   "begin with a slash",
		"https://relay.example/tasks/{task_id}":   "begin with a slash",
		"/tasks/{id}":                             `unknown placeholder "{id}"`,
		"/tasks/{Task_ID}":                        "unknown placeholder",
		"/tasks/{task_id\n}":                      "unknown placeholder",
		"/tasks/{}":                               "unknown placeholder",
		"/tasks/{task_id":                         "{ without a }",
		"/tasks/task_id}":                         "} without a {",
		"/kling/v1/{action}/{action2}":            "neither {task_id} nor {task_ids}",
		"/{task_id}?task_ids={task_ids}":          "both {task_id} and {task_ids}",
		"/{task_id}/{task_id}":                    "{task_id} twice",
		"/{action}/{action}/{task_id}":            "{action} twice",
		"/tasks/{task_id}#x":                      "fragment",
		"/ta sks/{task_id}":                       `' '`,
		"/tasks/{task_id}\n":                      `'\n'`,
		"/t\x00/{task_id}":                        `'\x00'`,
		"/任务/{task_id}":                           "escaped",
		`/a\b/{task_id}`:                          "escaped",
		"/100%/{task_id}":                         "no escape",
		"/a%2/{task_id}":                          "no escape",
		"/tasks?a=%zz&id={task_id}":               "no escape",
		"/../{task_id}":                           "segment",
		"/a/./{task_id}":                          "segment",
		"/a/{task_id}/..":                         "segment",
		"/a/%2e%2E/{task_id}":                     "segment",
		"/kling?x=1/{action}/{action2}/{task_id}": "behind the question mark",
		"/tasks?x?id={task_id}":                   "behind the question mark",
	} {
		err := klingapi.CheckTaskPath(template)
		if err == nil {
			t.Errorf("%q was accepted", template)
			continue
		}
		if text := err.Error(); !strings.Contains(text, says) || !strings.Contains(text, "like /kling/v1/{action}") || strings.ContainsAny(text, "\n\x00") {
			t.Errorf("%q: %q does not say %s, or is not one line with an example", template, text, says)
		}
		if _, err := klingapi.New(klingapi.Config{BaseURL: "https://relay.example", TaskPath: template, Credential: klingapi.StaticKey("k")}); err == nil && template != "" {
			t.Errorf("a client accepts %q", template)
		}
	}
}

func TestAPrefixMakesATemplate(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{
		"":          klingapi.DefaultTaskPath,
		"/kling/v1": klingapi.DefaultTaskPath,
		"/v1":       "/v1/{action}/{action2}/{task_id}",
		"v1/":       "/v1/{action}/{action2}/{task_id}",
		"//v1//":    "/v1/{action}/{action2}/{task_id}",
		"/":         "/{action}/{action2}/{task_id}",
		"/a/b":      "/a/b/{action}/{action2}/{task_id}",
	} {
		got := klingapi.PathUnder(prefix)
		if err := klingapi.CheckTaskPath(got); got != want || err != nil {
			t.Errorf("%q: %s, %v; want %s", prefix, got, err, want)
		}
	}
	for _, bad := range []string{"/v1?x=1", "/v1#x", "/v 1", "/v%", "/..", "/v1/{task_id}", "/{version}"} {
		if err := klingapi.CheckTaskPath(klingapi.PathUnder(bad)); err == nil {
			t.Errorf("the prefix %q was accepted", bad)
		}
	}
}

func TestTasksOfOnePlaceDifferInTheirIDOnly(t *testing.T) {
	t.Parallel()
	avatar := klingapi.Ref{Action: "videos", Action2: "avatar/image2video", TaskID: "ID"}
	for _, c := range []struct {
		template      string
		batches       bool
		video, avatar string
	}{
		{"", false, "/kling/v1/videos/text2video/", "/kling/v1/videos/avatar/image2video/"},
		{"/kling/tasks/{task_id}", false, "/kling/tasks/", "/kling/tasks/"},
		{officialTasks, true, "/tasks?task_ids=", "/tasks?task_ids="},
		{"/{action}?ids={task_ids}&v=2", true, "/videos?ids=&v=2", "/videos?ids=&v=2"},
	} {
		client := newClient(t, klingapi.Config{BaseURL: "https://relay.example", TaskPath: c.template})
		if got := client.Batches(); got != c.batches {
			t.Errorf("%s takes several ids: %v", c.template, got)
		}
		if got := client.Place(video); got != c.video {
			t.Errorf("%s: %s, want %s", c.template, got, c.video)
		}
		if got := client.Place(avatar); got != c.avatar {
			t.Errorf("%s: %s, want %s", c.template, got, c.avatar)
		}
	}
}
