package klingsim_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

const (
	key      = "sk-test"
	seed     = 42
	lifetime = 10 * time.Second
	ages     = 10 * 2 * lifetime // by then every task has ended, even a slow one
)

// clock is a clock that only Advance moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bench is a relay that a test calls directly, without a network, on a clock of its own.
type bench struct {
	*klingsim.Relay
	clock *clock
}

func newBench(change ...func(*klingsim.Config)) *bench {
	c := &clock{now: time.UnixMilli(1_774_805_076_166)}
	config := klingsim.Config{Seed: seed, APIKey: key, PublicURL: "http://cdn.example", Lifetime: lifetime, Now: c.Now}
	for _, f := range change {
		f(&config)
	}
	return &bench{klingsim.New(config), c}
}

// reply is the answer to one request.
type reply struct {
	status int
	header http.Header
	body   string
}

func (b *bench) do(method, path, authorization, body string) reply {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, req)
	return reply{w.Code, w.Header(), w.Body.String()}
}

// ask asks for "{action}/{action2}/{id}" with the right key.
func (b *bench) ask(path string) reply {
	return b.do(http.MethodGet, "/kling/v1/"+path, "Bearer "+key, "")
}

// end asks for a task, waits until it must have ended, and asks again.
func (b *bench) end(path string) reply {
	b.ask(path)
	b.clock.Advance(ages)
	return b.ask(path)
}

// at reads a value of a JSON body by its path: "data.task_result.videos.0.url". Numbers are json.Number; an absent value
// is nil.
func (p reply) at(path string) any {
	var value any
	decoder := json.NewDecoder(strings.NewReader(p.body))
	decoder.UseNumber()
	if decoder.Decode(&value) != nil {
		return nil
	}
	for key := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[key]
		case []any:
			if key != "0" || len(v) == 0 {
				return nil
			}
			value = v[0]
		default:
			return nil
		}
	}
	return value
}

func (p reply) has(t *testing.T, path string, want any) {
	t.Helper()
	if got := p.at(path); got != want {
		t.Errorf("%s = %#v, want %#v, in HTTP %d %s", path, got, want, p.status, p.body)
	}
}

// code fails unless the answer is this official error.
func (p reply) code(t *testing.T, status int, code string) {
	t.Helper()
	if p.status != status {
		t.Errorf("HTTP %d, want %d", p.status, status)
	}
	p.has(t, "code", json.Number(code))
	if id, _ := p.at("request_id").(string); id == "" {
		t.Errorf("no request_id in %s", p.body)
	}
}

// succeeds fails unless the answer is the official record of a success with an output.
func (p reply) succeeds(t *testing.T) {
	t.Helper()
	if p.status != http.StatusOK {
		t.Errorf("HTTP %d, want 200", p.status)
	}
	p.has(t, "code", json.Number("0"))
	p.has(t, "message", "SUCCEED")
	p.has(t, "data.task_status", "succeed")
	if url, _ := p.at("data.task_result.videos.0.url").(string); url == "" {
		t.Errorf("no video in %s", p.body)
	}
}

// RoundTrip lets klingapi ask the relay without a network. A handler that takes the connection over has cut it.
func (b *bench) RoundTrip(req *http.Request) (*http.Response, error) {
	w := &wire{ResponseRecorder: httptest.NewRecorder()}
	b.ServeHTTP(w, req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if w.taken {
		return http.ReadResponse(bufio.NewReader(&w.rest), req)
	}
	return w.Result(), nil
}

// wire is a recorder whose connection can be taken over.
type wire struct {
	*httptest.ResponseRecorder
	taken bool
	rest  bytes.Buffer
}

// Write fails beyond what a client reads, as a connection does that it has closed.
func (w *wire) Write(p []byte) (int, error) {
	if w.Body.Len() > klingapi.MaxBody+1<<20 {
		return 0, net.ErrClosed
	}
	return w.ResponseRecorder.Write(p)
}

func (w *wire) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.taken = true
	return conn{w: w}, nil, nil
}

// conn keeps the last bytes.
type conn struct {
	net.Conn // nil: nothing but Write and Close is used
	w        *wire
}

func (c conn) Write(p []byte) (int, error) { return c.w.rest.Write(p) }
func (c conn) Close() error                { return nil }

// understood says what klingapi makes of an answer for a task: status and marks, kinds of files, result, reason.
func (b *bench) understood(t *testing.T, id string) string {
	t.Helper()
	return b.understoodAt(t, klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: id})
}

func (b *bench) understoodAt(t *testing.T, ref klingapi.Ref) string {
	t.Helper()
	client, err := klingapi.New(klingapi.Config{BaseURL: "http://relay.example", Credential: klingapi.StaticKey(key), Transport: b})
	if err != nil {
		t.Fatal(err)
	}
	reply, err := client.GetTask(t.Context(), ref)
	if apiErr, ok := errors.AsType[*klingapi.Error](err); ok {
		return string(apiErr.Kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := reply.Record
	said := []string{string(r.Status)}
	for mark, set := range map[string]bool{"unsure": r.Unsure, "by relay": r.ByRelay, "incomplete": r.Incomplete, "too large": r.TooLarge > 0} {
		if set {
			said = append(said, mark)
		}
	}
	for _, o := range r.Outputs {
		file := string(o.Kind)
		if o.NeedsKey {
			file += " with key"
		}
		if strings.HasPrefix(o.URL, "data:") {
			file += " inline"
		}
		if left := o.ExpiresAt.Sub(b.clock.Now()).Round(time.Minute); !o.ExpiresAt.IsZero() && left < 24*time.Hour {
			file += " for " + left.String()
		}
		said = append(said, file)
	}
	if r.Result != nil {
		said = append(said, string(r.Result))
	}
	if r.Status == klingapi.Failed && r.Message == "" {
		said = append(said, "without a reason")
	}
	return strings.Join(said, ", ")
}

// asked has the ids of each word, and what klingapi understands of the first answers, after which the task has ended.
var asked = map[string]map[string][]string{
	"nocall":     {"nocall-quick-1": {"succeeded, video"}},
	"calltwice":  {"calltwice-quick-1": {"succeeded, video"}},
	"calllate":   {"calllate-quick-1": {"succeeded, video"}},
	"callearly":  {"callearly-quick-1": {"succeeded, video"}},
	"callforged": {"callforged-quick-1": {"succeeded, video"}},

	"ok":           {"ok-quick-1": {"succeeded, video"}, "ok-1": {"submitted", "succeeded, video"}},
	"fail":         {"fail-quick-1": {"failed"}},
	"canceled":     {"canceled-quick-1": {"failed, without a reason"}},
	"never":        {"never-1": {"submitted", "processing"}},
	"nourl":        {"nourl-quick-1": {"succeeded", "succeeded", "succeeded, video"}},
	"latefile":     {"latefile-quick-1": {"succeeded, incomplete", "succeeded, incomplete", "succeeded, video"}, "latefile-v3-quick-1": {"succeeded, incomplete", "succeeded, incomplete", "succeeded, video"}},
	"element":      {"element-quick-1": {`succeeded, {"elements":[{"element_id":829,"element_name":"cat"}]}`}, "element-newapi-quick-1": {`succeeded, {"elements":[{"element_id":829,"element_name":"cat"}]}`}},
	"voice":        {"voice-quick-1": {`succeeded, {"voices":[{"trial_url":"http://cdn.example/trial.mp3","voice_id":"voice-829"}]}`}},
	"contradict":   {"contradict-quick-1": {"failed"}, "contradict-newapi-quick-1": {"failed"}, "contradict-v3-quick-1": {"failed"}, "contradict-piapi-quick-1": {"failed"}, "contradict-kie-quick-1": {"failed"}, "contradict-output-quick-1": {"failed"}},
	"timeout":      {"timeout-quick-1": {"stopped, by relay", "succeeded, video"}, "timeout-flat-quick-1": {"stopped, by relay", "succeeded, video"}, "timeout-always-quick-1": {"stopped, by relay", "stopped, by relay"}},
	"expired":      {"expired-quick-1": {"stopped, by relay", "succeeded, video"}, "expired-piapi-quick-1": {"stopped, by relay", "succeeded, video"}},
	"relaytimeout": {"relaytimeout-quick-1": {"failed, by relay", "succeeded, video"}, "relaytimeout-newapi-always-quick-1": {"failed, by relay", "failed, by relay"}},

	"unknown":       {"unknown-1": {"not_found", "not_found"}, "unknown-newapi-1": {"not_found"}, "unknown-v3-1": {"not_found"}},
	"unknown1203":   {"unknown1203-1": {"not_found"}},
	"unknowncode":   {"unknowncode-1": {"not_found"}},
	"unknownopenai": {"unknownopenai-1": {"not_found"}},
	"unknowntext":   {"unknowntext-1": {"not_found"}},
	"unknowndetail": {"unknowndetail-1": {"not_found"}},
	"unknown404":    {"unknown404-1": {"not_found"}},
	"unknownzh":     {"unknownzh-1": {"not_found"}},
	"unknownempty":  {"unknownempty-1": {"not_found"}},
	"unknownnull":   {"unknownnull-1": {"not_found"}},
	"unknownmodel":  {"unknownmodel-1": {"not_found"}},
	"gone":          {"gone-1": {"not_found"}},
	"late":          {"late-quick-1": {"not_found", "not_found", "succeeded, video"}},
	"flicker":       {"flicker-quick-1": {"not_found", "not_found", "succeeded, video", "not_found"}},

	"quick": {"quick-1": {"succeeded, video"}},
	"slow":  {"slow-1": {"submitted", "succeeded, video"}},

	"throttle":     fault("throttle", "throttled"),
	"throttledate": fault("throttledate", "throttled"),
	"throttleodd":  fault("throttleodd", "throttled"),
	"error500":     fault("error500", "unavailable"),
	"badgateway":   fault("badgateway", "unavailable"),
	"garbage":      fault("garbage", "misconfigured"),
	"htmlnotfound": fault("htmlnotfound", "misconfigured"),
	"blank":        fault("blank", "unreadable"),
	"truncated":    fault("truncated", "unreadable"),
	"trailing":     fault("trailing", "unreadable"),
	"cut":          fault("cut", "unreachable"),
	"hang":         fault("hang", "unreachable"),
	"huge":         fault("huge", "unreadable"),
	"redirect":     fault("redirect", "misconfigured"),
	"mislabelled":  fault("mislabelled", "succeeded, video"),
	"weird":        fault("weird", ""),
	"gateway":      fault("gateway", "unavailable"),
	"gatewaykey":   fault("gatewaykey", "refused"),
	"gatewayquota": fault("gatewayquota", "refused"),
	"denied":       fault("denied", "refused"),
	"arrears":      fault("arrears", "refused"),
	"weakerror":    fault("weakerror", "failed, unsure"),
	"weakfail":     fault("weakfail", "failed, unsure"),
	"body401":      fault("body401", "refused"),
	"body402":      fault("body402", "refused"),
	"body429":      fault("body429", "throttled"),
	"body500":      fault("body500", "unavailable"),
	"frontend":     fault("frontend", "misconfigured"),
	"invalidurl":   fault("invalidurl", "misconfigured"),
	"always":       {"error500-always-quick-1": {"unavailable", "unavailable", "unavailable", "unavailable", "unavailable"}},

	"slowreply": {"slowreply-quick-1": {"succeeded, video"}},
	"gzip":      {"gzip-quick-1": {"succeeded, video"}, "gzip-fail-newapi-quick-1": {"failed"}},
	"slash":     {"slash-quick-1": {"succeeded, video"}, "slash-unknown-1": {"not_found"}},

	"culprit": {"culprit-quick-1": {"succeeded, video"}, "culprit-unknown-1": {"not_found"}}, // alone; batch_test.go has the batches

	"inline":          {"inline-quick-1": {"succeeded, video inline"}, "inline-outputlist-quick-1": {"succeeded, video inline"}},
	"inlinehuge":      {"inlinehuge-quick-1": {"succeeded, too large"}},
	"s3":              {"s3-quick-1": {"succeeded, video for 1h0m0s"}},
	"sas":             {"sas-quick-1": {"succeeded, video for 1h0m0s"}},
	"placeholder":     {"placeholder-quick-1": {"succeeded, video"}, "placeholder-latefile-quick-1": {"succeeded, incomplete, video with key", "succeeded, incomplete, video with key", "succeeded, video"}},
	"placeholderonly": {"placeholderonly-quick-1": {"succeeded, video with key"}, "placeholderonly-fail-quick-1": {"failed"}},

	"newapi":      form("newapi"),
	"newapi2":     form("newapi2"),
	"newapiold":   form("newapiold"),
	"disagree":    {"disagree-quick-1": {"succeeded, video"}, "disagree-fail-quick-1": {"failed, by relay"}},
	"flat":        {"flat-quick-1": {"succeeded, video"}, "flat-1": {"submitted", "succeeded, video"}},
	"flatlist":    form("flatlist"),
	"v3":          form("v3"),
	"v3object":    form("v3object"),
	"geekai":      form("geekai"),
	"piapi":       form("piapi"),
	"works":       {"works-quick-1": {"succeeded, video, video"}, "works-fail-quick-1": {"failed"}},
	"openaivideo": form("openaivideo"),
	"output":      form("output"),
	"outputlist":  form("outputlist"),
	"kie":         form("kie"),

	"succeeded":  form("succeeded"),
	"numericid":  form("numericid"),
	"seconds":    form("seconds"),
	"stringcode": form("stringcode"),
	"nocode":     form("nocode"),
	"arraydata":  form("arraydata"),
	"stringdata": form("stringdata"),
	"swapped":    form("swapped"),
	"extra":      form("extra"),

	"e1000": fault("e1000", "refused"), "e1001": fault("e1001", "refused"), "e1002": fault("e1002", "refused"),
	"e1003": fault("e1003", "token_time"), "e1004": fault("e1004", "token_time"),
	"e1100": fault("e1100", "refused"), "e1101": fault("e1101", "refused"), "e1102": fault("e1102", "refused"), "e1103": fault("e1103", "refused"),
	"e1200": fault("e1200", "rejected"), "e1201": fault("e1201", "rejected"), "e1202": fault("e1202", "misconfigured"), "e1203": fault("e1203", "not_found"),
	"e1300": fault("e1300", "rejected"), "e1301": fault("e1301", "rejected"),
	"e1302": fault("e1302", "throttled"), "e1303": fault("e1303", "throttled"), "e1304": fault("e1304", "refused"),
	"e5000": fault("e5000", "unavailable"), "e5001": fault("e5001", "unavailable"), "e5002": fault("e5002", "unavailable"),
}

// fault is a word that spoils the first three answers.
func fault(word, kind string) map[string][]string {
	return map[string][]string{word + "-quick-1": {kind, kind, kind, "succeeded, video"}}
}

// form is a word that changes how answers are written, and nothing else.
func form(word string) map[string][]string {
	return map[string][]string{
		word + "-1":            {"submitted", "succeeded, video"},
		word + "-never-1":      {"submitted", "processing"},
		word + "-quick-fail-1": {"failed"},
		word + "-unknown-1":    {"not_found"},
	}
}

func TestEveryWordIsUnderstood(t *testing.T) {
	t.Parallel()
	for _, word := range klingsim.Vocabulary() {
		if len(asked[word.Text]) == 0 {
			t.Errorf("%s: no row", word.Text)
		}
		for id, wants := range asked[word.Text] {
			t.Run(id, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { // slow answers take no time here
					b := newBench()
					for i, want := range wants {
						if got := b.understood(t, id); got != want {
							t.Errorf("answer %d: %s, want %s", i+1, got, want)
						}
						b.clock.Advance(ages)
					}
				})
			})
		}
	}
}

// new-api's own link leads to the file, with the key.
func TestAPlaceholderNeedsTheKey(t *testing.T) {
	t.Parallel()
	b := newBench()
	path := "/v1/videos/placeholderonly-quick-1/content"
	if p := b.do(http.MethodGet, path, "Bearer "+key, ""); p.status != http.StatusOK || p.header.Get("Content-Type") != "video/mp4" {
		t.Errorf("HTTP %d, %s", p.status, p.header)
	}
	if p := b.do(http.MethodGet, path, "", ""); p.status != http.StatusUnauthorized {
		t.Errorf("HTTP %d without a key", p.status)
	}
}

// A router that wants a slash at the end redirects there.
func TestASlashIsAskedFor(t *testing.T) {
	t.Parallel()
	b := newBench()
	p := b.ask(t2v + "slash-quick-1")
	if p.status != http.StatusMovedPermanently {
		t.Errorf("HTTP %d", p.status)
	}
	header(t, p, "Location", "/kling/v1/"+t2v+"slash-quick-1/")
	b.ask(t2v + "slash-quick-1/").succeeds(t)
}

func TestTheFrontEndAnswersOutsideThePrefix(t *testing.T) {
	t.Parallel()
	b := newBench(func(c *klingsim.Config) { c.FrontEnd = true })
	if p := b.do(http.MethodGet, "/kling/v2/x", "", ""); p.status != http.StatusOK || !strings.HasPrefix(p.body, "<!doctype html>") {
		t.Errorf("HTTP %d %s", p.status, p.body)
	}
}
