package klingapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/klingwatch/klingwatch/klingapi"
)

// sample is an answer that says how a task is.
type sample struct {
	name   string
	ref    klingapi.Ref
	status int // HTTP
	body   []byte
	reply  *klingapi.Reply
}

// samples are the golden files and the dialects that hold a verdict.
func samples(t *testing.T, relay *echo) []sample {
	var all []sample
	add := func(name string, ref klingapi.Ref, status int, body []byte) {
		if status == 0 {
			status = http.StatusOK
		}
		if reply, err := relay.answer(t, ref, status, body); err == nil {
			all = append(all, sample{name, ref, status, body, reply})
		}
	}
	for _, shape := range shapes {
		ref := shape.ref
		if ref.TaskID == "" {
			ref = video
		}
		add(shape.file, ref, shape.status, golden(t, shape.file))
	}
	for _, d := range slices.Concat(recordDialects, fileDialects, resultDialects, contradictionDialects, newAPIDialects) {
		action := d.action
		if action == "" {
			action = "videos"
		}
		add(d.name, klingapi.Ref{Action: action, Action2: "any", TaskID: "ID"}, d.status, []byte(d.body))
	}
	if len(all) < 150 {
		t.Fatalf("only %d samples", len(all))
	}
	return all
}

// echo is a relay that answers what it is told to.
type echo struct {
	server *httptest.Server
	client *klingapi.Client
	status int
	body   []byte
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	e := &echo{}
	e.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(e.status)
		_, _ = w.Write(e.body)
	}))
	t.Cleanup(e.server.Close)
	e.client = newClient(t, klingapi.Config{BaseURL: e.server.URL})
	return e
}

func (e *echo) answer(t rapid.TB, ref klingapi.Ref, status int, body []byte) (*klingapi.Reply, error) {
	t.Helper()
	e.status, e.body = status, bytes.ReplaceAll(body, []byte("//HOST/"), []byte("//"+e.server.Listener.Addr().String()+"/"))
	reply, err := e.client.GetTask(context.Background(), ref)
	if _, ok := errors.AsType[*klingapi.Error](err); err != nil && !ok {
		t.Fatal(err)
	}
	return reply, err
}

// verdict is what a record says of the end of the task.
func verdict(r *klingapi.Reply) klingapi.Record {
	record := r.Record
	return klingapi.Record{
		Status: record.Status, Message: record.Message, Outputs: record.Outputs, Result: record.Result,
		Unsure: record.Unsure, Bare: record.Bare, ByRelay: record.ByRelay, Incomplete: record.Incomplete, TooLarge: record.TooLarge,
	}
}

// isCertain reports whether a record has a field that only tasks have, and ends its
// task by its own files or reason, not by what the envelope says.
func (s sample) isCertain(t *testing.T) bool {
	strong := false
	for _, field := range []string{"task_status", "task_result", "fail_reason", "progress", "result_url", "outputs", "creations", "failMsg"} {
		strong = strong || bytes.Contains(bytes.ToLower(s.body), []byte(strings.ToLower(`"`+field+`"`)))
	}
	r := s.reply.Record
	if root, ok := decoded(t, s.body).(map[string]any); ok && r.Status == klingapi.Failed && (root["message"] == r.Message || root["msg"] == r.Message) {
		return false
	}
	return strong && r.Status.Ended() && !r.Unsure && (len(r.Outputs) > 0 || r.Result != nil || r.Status == klingapi.Failed && r.Message != "")
}

// same checks that an answer has the verdict of its sample.
func same(t *rapid.T, s sample, body []byte, reply *klingapi.Reply, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v instead of %q\n%s", s.name, err, s.reply.Record.Status, body)
	}
	if diff := cmp.Diff(verdict(s.reply), verdict(reply)); diff != "" {
		t.Fatalf("%s (-want +got):\n%s\n%s", s.name, diff, body)
	}
}

// decoded is the body of a sample as a tree.
func decoded(t rapid.TB, body []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// shuffled writes a tree with the keys of its objects in any order.
func shuffled(t *rapid.T, b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		keys := rapid.Permutation(slices.Sorted(maps.Keys(v))).Draw(t, "keys")
		for i, key := range keys {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(b, "%s:", encoded(t, key))
			shuffled(t, b, v[key])
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			shuffled(t, b, item)
		}
		b.WriteByte(']')
	default:
		b.Write(encoded(t, v))
	}
}

func encoded(t rapid.TB, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTheOrderOfKeysChangesNoVerdict(t *testing.T) {
	t.Parallel()
	relay := newEcho(t)
	all := samples(t, relay)
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(all).Draw(t, "sample")
		var b bytes.Buffer
		shuffled(t, &b, decoded(t, s.body))
		reply, err := relay.answer(t, s.ref, s.status, b.Bytes())
		same(t, s, b.Bytes(), reply, err)
	})
}

// knownEnvelopes are put around an answer.
var knownEnvelopes = map[string]func(body []byte) []byte{
	"a code of 0":    func(body []byte) []byte { return fmt.Appendf(nil, `{"code":0,"data":%s}`, body) },
	"a word as code": func(body []byte) []byte { return fmt.Appendf(nil, `{"code":"success","message":"","data":%s}`, body) },
	"a list of one":  func(body []byte) []byte { return fmt.Appendf(nil, `{"data":[%s]}`, body) },
	"a string": func(body []byte) []byte {
		text, _ := json.Marshal(string(body)) // a string
		return fmt.Appendf(nil, `{"data":%s}`, text)
	},
}

func TestOneMoreEnvelopeChangesNoVerdict(t *testing.T) {
	t.Parallel()
	relay := newEcho(t)
	all := samples(t, relay)
	for name, wrap := range knownEnvelopes {
		for _, s := range all {
			body := wrap(s.body)
			reply, err := relay.answer(t, s.ref, s.status, body)
			if err != nil {
				t.Errorf("%s in %s: %v instead of %q\n%s", s.name, name, err, s.reply.Record.Status, body)
			} else if diff := cmp.Diff(verdict(s.reply), verdict(reply)); diff != "" {
				t.Errorf("%s in %s (-want +got):\n%s\n%s", s.name, name, diff, body)
			}
		}
	}
}

// statusKeys are the fields whose words tell how a task is.
var statusKeys = map[string]bool{"status": true, "state": true, "task_status": true, "TASK_STATUS": true, "Status": true, "job_status": true}

// recased changes the case of the status words in a tree.
func recased(t *rapid.T, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			word, ok := value.(string)
			if ok && statusKeys[key] && klingapi.ParseStatus(word) != "" {
				v[key] = mixedCase(t, word)
				continue
			}
			v[key] = recased(t, value)
		}
	case []any:
		for i := range v {
			v[i] = recased(t, v[i])
		}
	}
	return v
}

func mixedCase(t *rapid.T, word string) string {
	change := rapid.SampledFrom([]func(string) string{strings.ToUpper, strings.ToLower, func(word string) string {
		return string(unicode.ToUpper(rune(word[0]))) + strings.ToLower(word[1:])
	}}).Draw(t, "case")
	return change(word)
}

func TestTheCaseOfWordsChangesNoVerdict(t *testing.T) {
	t.Parallel()
	relay := newEcho(t)
	all := samples(t, relay)
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(all).Draw(t, "sample")
		body := encoded(t, recased(t, decoded(t, s.body)))
		reply, err := relay.answer(t, s.ref, s.status, body)
		same(t, s, body, reply, err)
	})
}

func TestTheHTTPStatusChangesNoCertainVerdict(t *testing.T) {
	t.Parallel()
	relay := newEcho(t)
	certain := 0
	for _, s := range samples(t, relay) {
		if s.isCertain(t) {
			certain++
		}
		for _, status := range []int{200, 500} {
			reply, err := relay.answer(t, s.ref, status, s.body)
			switch {
			case err != nil:
				if s.isCertain(t) {
					t.Errorf("%s under HTTP %d: %v instead of %q", s.name, status, err, s.reply.Record.Status)
				}
			case !s.isCertain(t) && s.reply.Record.Status == klingapi.Failed && reply.Record.Status == klingapi.Failed:
				// it may need a second answer under one status, and none under the other
			default:
				if diff := cmp.Diff(verdict(s.reply), verdict(reply)); diff != "" {
					t.Errorf("%s under HTTP %d (-want +got):\n%s", s.name, status, diff)
				}
			}
		}
	}
	if certain < 60 {
		t.Errorf("only %d certain samples", certain)
	}
}

func TestATransientErrorAroundARunningTaskEndsNothing(t *testing.T) {
	t.Parallel()
	relay := newEcho(t)
	all := samples(t, relay)
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(slices.DeleteFunc(slices.Clone(all), func(s sample) bool { return s.reply.Record.Status.Ended() })).Draw(t, "sample")
		code := rapid.SampledFrom([]string{"1302", "5000", "429", `"rate_limit_exceeded"`, "0"}).Draw(t, "code")
		status := rapid.SampledFrom([]int{200, 429, 503}).Draw(t, "status")
		form := rapid.SampledFrom([]string{
			`{"code":%s,"message":"try later","data":%s}`, `{"error":{"code":%s,"message":"try later"},"data":%s}`, `{"code":%s,"status":"error","message":"try later","data":%s}`,
			`{"code":%s,"status":"failed","id":"ID","data":%s}`, `{"code":%s,"status":"error","data":[%s]}`,
		}).Draw(t, "form")
		body := fmt.Appendf(nil, form, code, s.body)
		reply, err := relay.answer(t, s.ref, status, body)
		if err == nil && reply.Record.Status.Ended() && !reply.Record.Unsure {
			t.Fatalf("%s under HTTP %d became %q\n%s", s.name, status, reply.Record.Status, body)
		}
	})
}
