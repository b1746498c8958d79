package klingsim_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

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
