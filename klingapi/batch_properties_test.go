package klingapi_test

import (
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

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/klingwatch/klingwatch/klingapi"
)

// relayTask is a task that the relay of the property test knows.
type relayTask struct{ id, external, word string }

// How relays write a record, and several of them.
var (
	recordForms = map[string]func(relayTask) string{
		"new family": func(r relayTask) string {
			return fmt.Sprintf(`{"id":%s,"external_id":%s,"status":%q,"message":"of %s","outputs":[{"type":"video","url":"https://cdn.example/of/%[4]s.mp4"}]}`, quoted(r.id), quoted(r.external), r.word, hexed(r.id))
		},
		"old family": func(r relayTask) string {
			return fmt.Sprintf(`{"task_id":%s,"task_status":%q,"task_status_msg":"of %s","task_info":{"external_task_id":%s},"task_result":{"videos":[{"id":"v","url":"https://cdn.example/of/%[3]s.mp4"}]}}`, quoted(r.id), r.word, hexed(r.id), quoted(r.external))
		},
		"new-api": func(r relayTask) string {
			return fmt.Sprintf(`{"id":7,"task_id":%s,"external_task_id":%s,"status":%q,"fail_reason":"","data":{"code":0,"data":{"task_id":"upstream","task_status":%[3]q,"task_status_msg":"of %[4]s","task_result":{"videos":[{"url":"https://cdn.example/of/%[4]s.mp4"}]}}}}`, quoted(r.id), quoted(r.external), r.word, hexed(r.id))
		},
		"capitals": func(r relayTask) string {
			return fmt.Sprintf(`{"TaskId":%s,"ExternalId":%s,"TaskStatus":%q,"Message":"of %s","VideoUrl":"https://cdn.example/of/%[4]s.mp4"}`, quoted(r.id), quoted(r.external), r.word, hexed(r.id))
		},
		"in an envelope": func(r relayTask) string {
			return fmt.Sprintf(`{"code":0,"message":"SUCCEED","data":{"task_id":%s,"external_task_id":%s,"task_status":%q,"task_status_msg":"of %s","task_result":{"videos":[{"url":"https://cdn.example/of/%[4]s.mp4"}]}}}`, quoted(r.id), quoted(r.external), r.word, hexed(r.id))
		},
	}
	listForms = map[string]func(ids, records []string) string{
		"data": func(_, records []string) string {
			return fmt.Sprintf(`{"code":0,"message":"SUCCEED","data":%s}`, listed(records))
		},
		"tasks": func(_, records []string) string {
			return fmt.Sprintf(`{"code":0,"data":{"tasks":%s,"total":%d}}`, listed(records), len(records))
		},
		"list": func(_, records []string) string {
			return fmt.Sprintf(`{"code":"success","message":"","data":{"list":%s}}`, listed(records))
		},
		"items": func(_, records []string) string { return fmt.Sprintf(`{"items":%s}`, listed(records)) },
		"root":  func(_, records []string) string { return listed(records) },
		"new-api": func(_, records []string) string {
			return fmt.Sprintf(`{"code":"success","data":{"code":0,"message":"SUCCEED","data":%s}}`, listed(records))
		},
		"string": func(_, records []string) string { return fmt.Sprintf(`{"code":0,"data":%s}`, quoted(listed(records))) },
		"map": func(ids, records []string) string {
			var fields []string
			for i, record := range records {
				fields = append(fields, quoted(ids[i])+":"+record)
			}
			return fmt.Sprintf(`{"code":0,"data":{%s}}`, strings.Join(fields, ","))
		},
	}
)

func listed(records []string) string { return "[" + strings.Join(records, ",") + "]" }

func quoted(text string) string {
	b, _ := json.Marshal(text) // of a string
	return string(b)
}

func hexed(id string) string { return fmt.Sprintf("%x", id) }

// Whatever is asked for, known or not, by either id, once or twice: each ref gets its own
// record or NotFound, and a body with no other.
func TestAnySubsetOfIDsGetsItsOwnRecords(t *testing.T) {
	t.Parallel()
	var body string
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, body) }))
	defer relay.Close()
	client := newClient(t, klingapi.Config{BaseURL: relay.URL, TaskPath: officialTasks})
	id := rapid.OneOf(rapid.StringMatching(`[0-9]{18}`), rapid.StringMatching(`task_[A-Za-z0-9]{8}`), rapid.StringMatching(`[A-Za-z0-9]{3}[/?#&%., é-][A-Za-z0-9]{3}`))
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(id, 2, 24, rapid.ID).Draw(t, "ids")
		var known []relayTask
		for i := 0; i+1 < len(names); i += 2 {
			word := rapid.SampledFrom([]string{"submitted", "processing", "succeed", "failed"}).Draw(t, "word")
			known = append(known, relayTask{names[i], names[i+1], word})
		}
		asked := rapid.SliceOfN(rapid.SampledFrom(append(slices.Clone(names), "unknown-1", "unknown/2")), 1, 20).Draw(t, "asked")
		writeRecord := recordForms[rapid.SampledFrom(slices.Sorted(maps.Keys(recordForms))).Draw(t, "record form")]
		writeList := listForms[rapid.SampledFrom(slices.Sorted(maps.Keys(listForms))).Draw(t, "list form")]

		var ids, records []string
		for _, r := range rapid.Permutation(known).Draw(t, "order") {
			if slices.Contains(asked, r.id) || slices.Contains(asked, r.external) {
				ids, records = append(ids, r.id), append(records, writeRecord(r))
			}
		}
		body = writeList(ids, records)
		answers, err := client.GetTasks(context.Background(), videos(asked...))
		if err != nil || len(answers) != len(asked) {
			t.Fatalf("%v\n%s", err, body)
		}
		for i, a := range answers {
			at := slices.IndexFunc(known, func(r relayTask) bool { return r.id == asked[i] || r.external == asked[i] })
			if at < 0 {
				if apiErr, ok := errors.AsType[*klingapi.Error](a.Err); !ok || apiErr.Kind != klingapi.NotFound {
					t.Fatalf("%q is unknown: %+v\n%s", asked[i], a, body)
				}
				continue
			}
			checkOwn(t, known, at, a, body)
		}
	})
}

// checkOwn checks that an answer is about one of the tasks and no other.
func checkOwn(t *rapid.T, known []relayTask, at int, a klingapi.Answer, body string) {
	r := known[at]
	if a.Err != nil {
		t.Fatalf("%+v: %v\n%s", r, a.Err, body)
	}
	record := a.Reply.Record
	if record.TaskID != r.id || record.Status != klingapi.ParseStatus(r.word) {
		t.Fatalf("%+v got %+v\n%s", r, record, body)
	}
	if record.Status == klingapi.Succeeded && (len(record.Outputs) != 1 || !strings.Contains(record.Outputs[0].URL, "/"+hexed(r.id)+".")) || record.Status == klingapi.Failed && record.Message != "of "+hexed(r.id) {
		t.Fatalf("%+v got files or reason of another: %+v\n%s", r, record, body)
	}
	for i, other := range known {
		if has := strings.Contains(string(a.Reply.Body), "of/"+hexed(other.id)+"."); has != (i == at) {
			t.Fatalf("the body of %+v holds %+v: %v\n%s", r, other, has, a.Reply.Body)
		}
	}
}

// What GetTask makes of an answer about one task, GetTasks does as well, unless the
// record bears another id: then it may be another's.
func TestOneOfABatchIsReadAsAlone(t *testing.T) {
	t.Parallel()
	relay := newEcho(t)
	all := samples(t, relay)
	batches := newClient(t, klingapi.Config{BaseURL: relay.server.URL, TaskPath: officialTasks})
	replies := 0
	for _, s := range all {
		_, _ = relay.answer(t, s.ref, s.status, s.body)
		answers, err := batches.GetTasks(t.Context(), []klingapi.Ref{s.ref})
		if err == nil {
			err = answers[0].Err
		}
		if err != nil {
			if bears := strings.Contains(string(s.body), quoted(s.ref.TaskID)); bears {
				t.Errorf("%s: %v instead of %q\n%s", s.name, err, s.reply.Record.Status, s.body)
			}
			continue
		}
		replies++
		if diff := cmp.Diff(verdict(s.reply), verdict(answers[0].Reply)); diff != "" {
			t.Errorf("%s (-alone +batch):\n%s\n%s", s.name, diff, s.body)
		}
	}
	if replies < 100 {
		t.Errorf("only %d of %d samples have a reply", replies, len(all))
	}
}
