package klingsim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// list asks for several tasks at once.
func (b *bench) list(ids ...string) reply {
	return b.do(http.MethodGet, "/tasks?task_ids="+strings.Join(ids, ","), "Bearer "+key, "")
}

// records says which tasks are in an answer and how they are; or else its status and code.
func (p reply) records(t *testing.T) string {
	t.Helper()
	var body struct {
		Code any
		Data []struct{ ID, Status string }
	}
	if p.status != http.StatusOK || json.Unmarshal([]byte(p.body), &body) != nil {
		_ = json.Unmarshal([]byte(p.body), &body)
		return fmt.Sprint("HTTP ", p.status, " ", body.Code)
	}
	said := []string{}
	for _, record := range body.Data {
		said = append(said, record.ID+" "+record.Status)
	}
	return strings.Join(said, ", ")
}

// numbered returns so many ids of tasks that have succeeded.
func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint("quick-", i)
	}
	return ids
}

func TestBatches(t *testing.T) {
	t.Parallel()
	one := func(c *klingsim.Config) { c.MaxBatch = 1 }
	for _, c := range []struct {
		about  string
		ids    string
		change []func(*klingsim.Config)
		want   []string // the answers, with time for all tasks to end in between
	}{
		{about: "each record is as its id says", ids: "quick-1,quick-fail-2,never-3",
			want: []string{"quick-1 succeeded, quick-fail-2 failed, never-3 submitted", "quick-1 succeeded, quick-fail-2 failed, never-3 processing"}},
		{about: "unknown ids are left out", ids: "quick-1,unknown-2,gone-3,late-quick-4", want: []string{"quick-1 succeeded", "quick-1 succeeded", "quick-1 succeeded, late-quick-4 succeeded"}},
		{about: "all are unknown", ids: "unknown-1,unknown-2", want: []string{""}},
		{about: "an id that is named twice is answered once", ids: "quick-1,quick-1", want: []string{"quick-1 succeeded"}},
		{about: "an id that is too long is unknown", ids: "quick-1," + strings.Repeat("x", 300), want: []string{"quick-1 succeeded"}},
		{about: "a strange word is in one record only", ids: "quick-1,weird-quick-2", want: []string{"quick-1 succeeded, weird-quick-2 reviewing"}},
		{about: "a relay that gave up", ids: "quick-1,timeout-quick-2,relaytimeout-quick-3",
			want: []string{"quick-1 succeeded, timeout-quick-2 timeout, relaytimeout-quick-3 timeout", "quick-1 succeeded, timeout-quick-2 succeeded, relaytimeout-quick-3 succeeded"}},
		{about: "other forms are not for batches", ids: "quick-newapi-1,quick-flat-2", want: []string{"quick-newapi-1 succeeded, quick-flat-2 succeeded"}},
		{about: "a culprit spoils every batch", ids: "quick-1,culprit-quick-2", want: []string{"HTTP 400 1201", "HTTP 400 1201", "HTTP 400 1201"}},
		{about: "alone it is answered", ids: "culprit-quick-2", want: []string{"culprit-quick-2 succeeded"}},
		{about: "alone it is refused, if it is one that is refused", ids: "culprit-e1200-2", want: []string{"HTTP 400 1200"}},
		{about: "what concerns the exchange concerns all", ids: "quick-1,error500-quick-2",
			want: []string{"HTTP 500 5000", "HTTP 500 5000", "HTTP 500 5000", "quick-1 succeeded, error500-quick-2 succeeded"}},
		{about: "the first of two faults happens", ids: "quick-1,throttle-2,error500-3", want: []string{"HTTP 429 1302"}},
		{about: "a page", ids: "quick-1,htmlnotfound-quick-2", want: []string{"HTTP 404 <nil>"}},
		{about: "20 ids", ids: strings.Join(numbered(20), ","), want: []string{strings.Join(numbered(20), " succeeded, ") + " succeeded"}},
		{about: "21 ids", ids: strings.Join(numbered(21), ","), want: []string{"HTTP 400 1201"}},
		{about: "a relay that takes no batches", ids: "quick-1,quick-2", change: []func(*klingsim.Config){one}, want: []string{"HTTP 400 1201"}},
		{about: "it takes one id", ids: "quick-1", change: []func(*klingsim.Config){one}, want: []string{"quick-1 succeeded"}},
	} {
		b := benchOf(klingsim.V3, c.change...)
		for i, want := range c.want {
			if got := b.list(c.ids).records(t); got != want {
				t.Errorf("%s: answer %d\n got %s\nwant %s", c.about, i+1, got, want)
			}
			b.clock.Advance(ages)
		}
	}
}

// The body of a broken answer is that of the batch, not of the one task that asked for it.
func TestABrokenBatch(t *testing.T) {
	t.Parallel()
	b := benchOf(klingsim.V3)
	p := b.list("quick-1", "trailing-quick-2")
	if json.Valid([]byte(p.body)) || !strings.Contains(p.body, `"quick-1"`) || !strings.Contains(p.body, `"trailing-quick-2"`) {
		t.Errorf("body %s", p.body)
	}
	p = b.list("quick-1", "gzip-quick-2")
	header(t, p, "Content-Encoding", "gzip")
	synctest.Test(t, func(t *testing.T) {
		b, start := benchOf(klingsim.V3), time.Now()
		b.list("quick-1", "slowreply-quick-2")
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// The two formats of a sound are one output.
func TestABatchFindsTasksOfOldPaths(t *testing.T) {
	t.Parallel()
	b := benchOf(klingsim.V3)
	b.ask("audio/video-to-audio/quick-1")
	p := b.list("quick-1", "quick-2")
	var body struct {
		Data []struct{ Outputs []map[string]string }
	}
	if err := json.Unmarshal([]byte(p.body), &body); err != nil || len(body.Data) != 2 || len(body.Data[0].Outputs) != 2 || len(body.Data[1].Outputs) != 1 {
		t.Fatalf("%v: %s", err, p.body)
	}
	if o := body.Data[0].Outputs[1]; o["type"] != "audio" || !strings.Contains(o["mp3_url"], ".mp3") || !strings.Contains(o["wav_url"], ".wav") || o["url"] != "" {
		t.Errorf("output %v", o)
	}
}

// A batch is one request, whatever becomes of it.
func TestABatchCountsOnce(t *testing.T) {
	t.Parallel()
	b := benchOf(klingsim.V3)
	b.list("quick-1", "fail-2", "unknown-3")
	b.list("culprit-4", "quick-1")
	b.list(numbered(21)...)
	b.ask(t2v + "quick-1")
	b.do(http.MethodGet, "/tasks?external_task_ids=order-7", "Bearer "+key, "")
	b.do(http.MethodPost, "/kling/v1/videos/text2video", "Bearer "+key, "")
	if n := b.Requests(); n != 6 {
		t.Errorf("%d requests, want 6", n)
	}
	if n := b.AskedIDs(); n != 3+2+21+1+1 {
		t.Errorf("%d ids, want 28", n)
	}
	if n := b.LargestBatch(); n != 21 {
		t.Errorf("%d ids at once, want 21", n)
	}
	for id, want := range map[string]int{"quick-1": 4, "unknown-3": 1, "order-7": 1, "other": 0} {
		if n := b.Queries(id); n != want {
			t.Errorf("%d queries of %s, want %d", n, id, want)
		}
	}
}
