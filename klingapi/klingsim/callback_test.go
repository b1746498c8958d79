package klingsim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

const callbackSecret = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="

// posts receives callbacks without a network.
type posts struct {
	mu   sync.Mutex
	list []post
}

// post is one callback.
type post struct {
	url, id string // of the request, and webhook-id
	at      time.Time
	status  string
	record  map[string]any
	signed  bool
}

func (p *posts) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	verifier, err := standardwebhooks.NewWebhook(callbackSecret)
	if err != nil {
		return nil, err
	}
	one := post{url: r.URL.String(), id: r.Header.Get("webhook-id"), at: time.Now(), signed: verifier.Verify(body, r.Header) == nil}
	if err := json.Unmarshal(body, &one.record); err != nil {
		return nil, err
	}
	one.status, _ = one.record["task_status"].(string)
	if one.status == "" {
		one.status, _ = one.record["status"].(string)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, one)
	return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody, Request: r}, nil
}

// callbacks returns what a relay posts of a task that is asked for once.
func callbacks(t *testing.T, id string, change ...func(*klingsim.Config)) (list []post, begun time.Time) {
	t.Helper()
	p := &posts{}
	synctest.Test(t, func(*testing.T) {
		b := newBench(append(change, func(c *klingsim.Config) {
			c.CallbackURL, c.CallbackSecret, c.CallbackTransport, c.Now = "http://us.example/callback", callbackSecret, p, nil
		})...)
		begun = time.Now()
		b.ask(t2v + id)
		b.ask(t2v + id)
		time.Sleep(ages)
	})
	return p.list, begun
}

// called is the case of a word of callbacks: the statuses in their order, an unsigned one in brackets.
func called(id, want string) func(*testing.T, *bench) {
	return func(t *testing.T, _ *bench) {
		t.Helper()
		list, _ := callbacks(t, id)
		var got []string
		for _, one := range list {
			if one.signed {
				got = append(got, one.status)
			} else {
				got = append(got, "("+one.status+")")
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

func TestEveryChangeOfStatusIsPosted(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"1":           "submitted processing succeed",
		"fail-1":      "submitted processing failed",
		"never-1":     "submitted processing",
		"quick-1":     "succeed",
		"v3-1":        "submitted processing succeeded",
		"late-1":      "submitted processing succeed",
		"timeout-1":   "submitted processing succeed", // the provider's own
		"unknown-1":   "",
		"arraydata-1": "submitted processing succeed",
		"nourl-1":     "submitted processing succeed",
	} {
		called(id, want)(t, nil)
	}
}

func TestACallbackIsTheBareRecord(t *testing.T) {
	t.Parallel()
	list, begun := callbacks(t, "1")
	last := list[len(list)-1]
	if last.url != "http://us.example/callback" || last.record["task_id"] != "1" || last.record["task_result"] == nil || last.record["code"] != nil {
		t.Errorf("%+v", last)
	}
	b := newBench()
	b.ask(t2v + "1")
	b.clock.Advance(last.at.Sub(begun) - time.Millisecond)
	b.ask(t2v+"1").has(t, "data.task_status", "processing")
	b.clock.Advance(2 * time.Millisecond)
	b.ask(t2v + "1").succeeds(t) // it came when the state could be read
	list, _ = callbacks(t, "v3-1")
	if last := list[len(list)-1]; last.record["id"] != "v3-1" || last.record["outputs"] == nil {
		t.Errorf("%+v", last)
	}
}

func TestACreationSaysWhereItsTaskIsPosted(t *testing.T) {
	t.Parallel()
	p := &posts{}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(func(c *klingsim.Config) { c.CallbackTransport, c.Now = p, nil })
		b.do(http.MethodPost, "/kling/v1/videos/text2video", "Bearer "+key, `{"callback_url":"http://us.example/own","external_task_id":"fail-7"}`).has(t, "data.task_status", "submitted")
		b.ask(t2v + "never-asked-for")
		time.Sleep(ages)
		if b.Callbacks() != 3 {
			t.Errorf("%d callbacks", b.Callbacks())
		}
	})
	for _, one := range p.list {
		if one.url != "http://us.example/own" || one.signed || one.record["task_info"] == nil {
			t.Errorf("%+v", one)
		}
	}
}

func TestSomeCallbacksComeOddly(t *testing.T) {
	t.Parallel()
	p := &posts{}
	synctest.Test(t, func(*testing.T) {
		b := newBench(func(c *klingsim.Config) {
			c.CallbackURL, c.CallbackTransport, c.Now, c.FaultRate, c.Lifetime = "http://us.example/callback", p, nil, 0.1, time.Second
		})
		for i := range 300 {
			b.ask(fmt.Sprintf("%s%d", t2v, i))
		}
		time.Sleep(ages)
	})
	if n := len(p.list); n <= 900 || n > 1200 {
		t.Errorf("%d callbacks of 300 tasks", n)
	}
}

func TestNewAPIPassesNoCallbackOn(t *testing.T) {
	t.Parallel()
	if list, _ := callbacks(t, "1", func(c *klingsim.Config) { c.Dialect = klingsim.NewAPI }); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// lag is by how much the callbacks of a task come later than those of another with the same life.
func lag(word string, want time.Duration) func(*testing.T, *bench) {
	return func(t *testing.T, _ *bench) {
		t.Helper()
		list, begun := callbacks(t, word+"-1")
		b := newBench()
		b.ask(t2v + word + "-1")
		b.clock.Advance(list[len(list)-1].at.Sub(begun) - want - time.Millisecond)
		b.ask(t2v+word+"-1").has(t, "data.task_status", "processing")
		b.clock.Advance(2 * time.Millisecond)
		b.ask(t2v + word + "-1").succeeds(t)
	}
}

func TestARepeatedCallbackHasTheSameID(t *testing.T) {
	t.Parallel()
	list, _ := callbacks(t, "calltwice-1")
	var ids []string
	for _, one := range list {
		ids = append(ids, one.id)
	}
	if len(ids) != 6 || len(slices.Compact(ids)) != 3 {
		t.Errorf("%q", ids)
	}
}
