package klingsim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// With the times of Kling.
func TestATaskGoesFromSubmittedToSucceed(t *testing.T) {
	t.Parallel()
	b := newBench()
	born := b.clock.Now().UnixMilli()
	var phases []string
	for range 100 {
		p := b.ask(t2v + "CjgHYGhmPtsAAAAAAE9m7g")
		p.has(t, "data.task_id", "CjgHYGhmPtsAAAAAAE9m7g")
		p.has(t, "data.created_at", json.Number(fmt.Sprint(born)))
		if status := p.at("data.task_status").(string); len(phases) == 0 || phases[len(phases)-1] != status {
			phases = append(phases, status)
		}
		b.clock.Advance(lifetime / 40)
	}
	if diff := cmp.Diff([]string{"submitted", "processing", "succeed"}, phases); diff != "" {
		t.Error(diff)
	}
	p := b.ask(t2v + "CjgHYGhmPtsAAAAAAE9m7g")
	ended, _ := p.at("data.updated_at").(json.Number).Int64()
	if life := time.Duration(ended-born) * time.Millisecond; life < lifetime/2 || life > 2*lifetime {
		t.Errorf("lived %v", life)
	}
	if again := b.ask(t2v + "CjgHYGhmPtsAAAAAAE9m7g"); again.at("data.updated_at") != p.at("data.updated_at") {
		t.Error("a finished task is updated")
	}
}

// Except for its URLs and times, which the simulator chooses.
func TestTheSeedDocumentIsAnsweredAsDocumented(t *testing.T) {
	t.Parallel()
	p := newBench().end("images/generations/CjMT7WdSwWcAAAAAAALvB3g")
	var got struct {
		Code      int
		Message   string
		RequestID string `json:"request_id"`
		Data      map[string]any
	}
	if err := json.Unmarshal([]byte(p.body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Code != 0 || got.Message != "SUCCEED" || got.RequestID == "" || p.status != http.StatusOK {
		t.Errorf("HTTP %d %s", p.status, p.body)
	}
	url, _ := p.at("data.task_result.images.0.url").(string)
	if !strings.HasPrefix(url, "http://cdn.example/files/CjMT7WdSwWcAAAAAAALvB3g-") {
		t.Errorf("url %q", url)
	}
	want := map[string]any{
		"task_id":         "CjMT7WdSwWcAAAAAAALvB3g",
		"task_status":     "succeed",
		"task_status_msg": "",
		"task_result":     map[string]any{"images": []any{map[string]any{"id": "", "url": url}}},
		"created_at":      got.Data["created_at"],
		"updated_at":      got.Data["updated_at"],
	}
	if diff := cmp.Diff(want, got.Data); diff != "" {
		t.Error(diff)
	}
}

func TestAWrongKeyIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench()
	path := "/kling/v1/" + t2v + "quick-1"
	for _, c := range []struct{ authorization, code string }{
		{"", "1001"},
		{"Bearer ", "1001"},
		{"Basic " + key, "1000"},
		{"Bearer wrong", "1002"},
	} {
		b.do(http.MethodGet, path, c.authorization, "").code(t, http.StatusUnauthorized, c.code)
		b.do(http.MethodPost, "/kling/v1/videos/text2video", c.authorization, "").code(t, http.StatusUnauthorized, c.code)
	}
	b.do(http.MethodGet, path, "bearer "+key, "").succeeds(t)

	b.SetKey("rotated")
	b.do(http.MethodGet, path, "Bearer "+key, "").code(t, http.StatusUnauthorized, "1002")
	b.do(http.MethodGet, path, "Bearer rotated", "").succeeds(t)
	b.SetKey("")
	b.do(http.MethodGet, path, "Bearer anything", "").succeeds(t)
	b.do(http.MethodGet, path, "", "").code(t, http.StatusUnauthorized, "1001")
}

func TestOnlyDocumentedPathsAreServed(t *testing.T) {
	t.Parallel()
	b := newBench()
	for path, status := range map[string]string{
		"videos/text2movie/quick-1": "1203",
		"sounds/text2video/quick-1": "1203",
		"videos/text2video":         "1203",
		"videos/text2video/":        "1203",
		"videos":                    "1203",
	} {
		b.ask(path).code(t, http.StatusNotFound, status)
	}
	b.do(http.MethodDelete, "/kling/v1/"+t2v+"quick-1", "Bearer "+key, "").code(t, http.StatusNotFound, "1202")
	b.ask(t2v+strings.Repeat("x", 300)).code(t, http.StatusBadRequest, "1201")
	b.ask(t2v+"quick-a%2Fb%20c").has(t, "data.task_id", "quick-a/b c")

	for _, path := range []string{"/v1/" + t2v + "quick-1", "/kling/v1", "/kling/v2/x/y/z", "/files/none.txt"} {
		p := b.do(http.MethodGet, path, "Bearer "+key, "")
		header(t, p, "Content-Type", "text/html")
		if p.status != http.StatusNotFound || !strings.Contains(p.body, "nginx") {
			t.Errorf("%s: HTTP %d %s", path, p.status, p.body)
		}
	}

	if p := b.do(http.MethodGet, "/", "", ""); p.status != http.StatusOK || !strings.Contains(p.body, "/kling/v1/") || !strings.Contains(p.body, "garbage") {
		t.Errorf("the start page: HTTP %d %s", p.status, p.body)
	}

	for prefix, path := range map[string]string{"/v1/": "/v1/", "/": "/"} {
		b := newBench(func(c *klingsim.Config) { c.PathPrefix = prefix })
		b.do(http.MethodGet, path+t2v+"quick-1", "Bearer "+key, "").succeeds(t)
	}
}

// As end-to-end tests do it.
func TestARelayCanBeDownOrThrottled(t *testing.T) {
	t.Parallel()
	b := newBench()
	id := "late-quick-1"

	b.SetOutage(http.StatusServiceUnavailable)
	b.ask(t2v+id).code(t, http.StatusServiceUnavailable, "5001")
	b.SetOutage(http.StatusBadGateway)
	if p := b.ask(t2v + id); p.status != http.StatusBadGateway || !strings.Contains(p.body, "nginx") {
		t.Errorf("HTTP %d %s", p.status, p.body)
	}
	b.SetOutage(klingsim.Unreachable)
	if res, err := get(t, b, t2v+id); err == nil {
		t.Errorf("HTTP %d from an unreachable relay", res.StatusCode)
	}
	b.SetOutage(0)

	b.SetThrottle(true, "7")
	p := b.ask(t2v + id)
	p.code(t, http.StatusTooManyRequests, "1302")
	header(t, p, "Retry-After", "7")
	b.SetThrottle(false, "")

	// The task counts only the queries that reached it.
	b.ask(t2v+id).code(t, http.StatusBadRequest, "1201")
	b.ask(t2v+id).code(t, http.StatusBadRequest, "1201")
	b.ask(t2v + id).succeeds(t)
	b.ask("videos/image2video/" + id)
	if n := b.Queries(id); n != 8 {
		t.Errorf("%d queries, want 8", n)
	}
	if n := b.Queries("other"); n != 0 {
		t.Errorf("%d queries of a task that nobody asked for", n)
	}
	if n := b.Requests(); n != 8 {
		t.Errorf("%d requests, want 8", n)
	}
}

func TestFollowedRedirectsAreCounted(t *testing.T) {
	t.Parallel()
	b := newBench()
	res, err := get(t, b, t2v+"redirect-1") // http.Client follows and sends the key, since the host is the same
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if followed, withKey := b.FollowedRedirects(); followed != 1 || withKey != 1 {
		t.Errorf("followed %d, with key %d; want 1, 1", followed, withKey)
	}
	if n := b.Requests(); n != 1 {
		t.Errorf("%d requests to the API, want 1", n)
	}
}

func TestAPostCreatesATask(t *testing.T) {
	t.Parallel()
	b := newBench()
	post := func(body string) reply {
		return b.do(http.MethodPost, "/kling/v1/videos/avatar/image2video", "Bearer "+key, body)
	}
	for _, body := range []string{"", "{}", `{"prompt":"a cat"}`, `{"external_task_id":"job-7"}`} {
		p := post(body)
		p.has(t, "code", json.Number("0"))
		p.has(t, "data.task_status", "submitted")
		id := p.at("data.task_id").(string)
		b.clock.Advance(ages)
		p = b.ask("videos/avatar/image2video/" + id)
		p.succeeds(t)
		p.has(t, "data.task_id", id)
	}

	// Both ids find the task, which behaves as the id of the caller says.
	id := post(`{"external_task_id":"fail-job-8"}`).at("data.task_id").(string)
	b.clock.Advance(ages)
	for _, name := range []string{id, "fail-job-8"} {
		p := b.ask("videos/avatar/image2video/" + name)
		p.has(t, "data.task_id", id)
		p.has(t, "data.task_status", "failed")
		p.has(t, "data.task_info.external_task_id", "fail-job-8")
	}

	post("not json").code(t, http.StatusBadRequest, "1200")
}

// The same queries get the same answers, whatever other queries come in between; with another seed they do not.
func TestTheSameSeedGivesTheSameAnswers(t *testing.T) {
	t.Parallel()
	faulty := func(seed uint64) *bench {
		return newBench(func(c *klingsim.Config) { c.Seed, c.FaultRate = seed, 0.3 })
	}
	run := func(b *bench, disturb bool) []string {
		var answers []string
		for range 40 {
			for _, id := range []string{"a", "b", "fail-c"} {
				answers = append(answers, b.ask(t2v+id).body)
				if disturb {
					b.ask(t2v + "other")
				}
			}
			b.clock.Advance(lifetime / 40)
		}
		return answers
	}
	synctest.Test(t, func(t *testing.T) { // the random slow answers take no time here
		first := run(faulty(1), false)
		if diff := cmp.Diff(first, run(faulty(1), true)); diff != "" {
			t.Error(diff)
		}
		if cmp.Equal(first, run(faulty(2), false)) {
			t.Error("two seeds give the same answers")
		}
	})
	if s := newBench().Seed(); s != seed {
		t.Errorf("Seed() = %d", s)
	}
	if klingsim.New(klingsim.Config{}).Seed() == 0 {
		t.Error("no seed was chosen")
	}
}

// They have their share of the answers and do not last.
func TestRandomFaultsNeverChangeAnOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(func(c *klingsim.Config) { c.FaultRate, c.Latency = 0.2, time.Second })
		const tasks = 200
		faults, queries := 0, 0
		for i := range tasks {
			word, want := "ok", "succeed"
			if i%2 == 1 {
				word, want = "fail", "failed"
			}
			for {
				p := b.ask(fmt.Sprintf("%s%s-quick-%d", t2v, word, i))
				queries++
				if status := p.at("data.task_status"); status == want {
					break
				} else if status != nil {
					t.Fatalf("ended %v, want %s", status, want)
				}
				faults++
			}
		}
		// A fifth of the faults are slow answers, which we cannot tell from good ones.
		if rate := float64(faults) / float64(queries); rate < 0.10 || rate > 0.22 {
			t.Errorf("%d faults in %d queries", faults, queries)
		}
	})
}

func TestARelayIsUsedByManyAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench()
	const callers, queries = 8, 50
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for n := range queries {
				b.ask(fmt.Sprintf("%sjob-%d", t2v, n%5))
				b.clock.Advance(time.Millisecond)
				b.SetKey(key)
				b.SetThrottle(i == 0, "1")
				b.SetOutage(n % 2 * 500)
				_, _ = b.FollowedRedirects()
			}
		})
	}
	wg.Wait()
	sum := 0
	for n := range 5 {
		sum += b.Queries(fmt.Sprintf("job-%d", n))
	}
	if sum != callers*queries || b.Requests() != sum {
		t.Errorf("%d queries, %d requests; want %d", sum, b.Requests(), callers*queries)
	}
}

func BenchmarkQuery(b *testing.B) {
	relay := klingsim.New(klingsim.Config{Seed: seed})
	req := httptest.NewRequest(http.MethodGet, "/kling/v1/videos/text2video/never-1", nil)
	req.Header.Set("Authorization", "Bearer any")
	b.ReportAllocs()
	for b.Loop() {
		relay.ServeHTTP(httptest.NewRecorder(), req)
	}
}

// The ids of the tasks choose what happens to them.
func Example() {
	relay := klingsim.New(klingsim.Config{Seed: 7, APIKey: "sk-example"})
	server := httptest.NewServer(relay)
	defer server.Close()
	client, err := klingapi.New(klingapi.Config{BaseURL: server.URL, Credential: klingapi.StaticKey("sk-example")})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	for _, id := range []string{"quick-1", "quick-fail-2", "slow-3", "unknown-4"} {
		reply, err := client.GetTask(context.Background(), klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: id})
		if err != nil {
			fmt.Println(id, err)
			continue
		}
		fmt.Println(id, reply.Record.Status, len(reply.Record.Outputs))
	}
	fmt.Println(relay.Requests(), "requests")
	// Output:
	// quick-1 succeeded 1
	// quick-fail-2 failed 0
	// slow-3 submitted 0
	// unknown-4 not_found: HTTP 400, code 1201: Task not found by id/external id: unknown-4
	// 4 requests
}

// A word in the id chooses a fault: the first three answers are refusals.
func Example_fault() {
	relay := klingsim.New(klingsim.Config{Seed: 7, PublicURL: "http://cdn.example"})
	req := httptest.NewRequest(http.MethodGet, "/kling/v1/videos/text2video/quick-throttle-0042", nil)
	req.Header.Set("Authorization", "Bearer any")
	for range 4 {
		w := httptest.NewRecorder()
		relay.ServeHTTP(w, req)
		fmt.Println(w.Code, w.Header().Get("Retry-After"))
	}
	// Output:
	// 429 1
	// 429 1
	// 429 1
	// 200
}
