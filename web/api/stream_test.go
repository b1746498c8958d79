package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/web/callers"
)

// follow begins a stream at an address; the body is the caller's to close.
func (s *service) follow(url, after string) *http.Response {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, url+"/v1/events", nil)
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.keys["read"])
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Last-Event-ID", after)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	return got
}

func TestAKeyHoldsSoManyStreamsAndWaits(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('t-1', 'videos', 'text2video')`)
	id := s.keys["read"][3:11]
	var ends []func()
	hold := func(n int, what callers.Holding) {
		for range n {
			_, done, err := s.api.callers.Hold(t.Context(), id, what)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, done)
		}
	}
	hold(callers.MaxStreams-1, callers.Stream)
	hold(callers.MaxWaiting, callers.Wait)
	last := s.follow(s.url, "0")
	if last.StatusCode != http.StatusOK {
		t.Errorf("the last stream that may be: HTTP %d", last.StatusCode)
	}
	stream := map[string]string{"Accept": "text/event-stream"}
	for _, sc := range []scenario{
		{name: "one stream more", request: "GET /v1/events", key: "read", headers: stream, status: 429, has: []string{"too-many-connections", "Retry-After: 1"}},
		{name: "one wait more", request: "GET /v1/tasks/1?wait=1", key: "read", status: 429, has: []string{"too-many-connections", "Retry-After: 1"}},
		{name: "without a wait", request: "GET /v1/tasks/1", key: "read", status: 200},
		{name: "the feed as JSON", request: "GET /v1/events", key: "read", status: 200},
		{name: "the wait of another key", request: "GET /v1/tasks/1?wait=1", key: "write", status: 200},
	} {
		s.try(sc)
	}
	_ = last.Body.Close()
	await(t, "the place of a stream that has left is free", func() bool {
		got := s.follow(s.url, "0")
		defer got.Body.Close()
		return got.StatusCode == http.StatusOK
	})
	for _, end := range ends {
		end()
	}
}

func TestAStreamEndsWhenTheProcessStops(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.ended("t-1", "studio")
	got := s.follow(s.url, "0")
	defer got.Body.Close()
	messages := readMessages(got.Body)
	<-messages // retry
	<-messages
	s.api.Feed.Close()
	begun := time.Now()
	if m, open := <-messages; open || time.Since(begun) > 5*time.Second {
		t.Errorf("it goes on with %q after %s", m, time.Since(begun))
	}
	s.try(scenario{
		name: "a later one", request: "GET /v1/events", key: "read", headers: map[string]string{"Accept": "text/event-stream"},
		status: 503, has: []string{"/docs/problems/unavailable", "Retry-After: 1"},
	})
}

func TestACursorOfDeletedEventsIsToldTheOldest(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.ended("t-1", "studio")
	s.ended("t-2", "studio")
	s.exec(`update klingwatch.tasks set created_at = now() - interval '40 d', finished_at = now() - interval '40 d' where task_id = 't-1'`)
	if err := s.refreshAndPrune(); err != nil {
		t.Fatal(err)
	}
	for name, headers := range map[string]map[string]string{"as JSON": nil, "as a stream": {"Accept": "text/event-stream"}} {
		got := s.try(scenario{name: name, request: "GET /v1/events?after=0", key: "read", headers: headers, status: 410, has: []string{"/docs/problems/cursor-expired"}})
		oldest, ok := got.fields(t)["oldest"].(float64)
		if !ok {
			t.Fatalf("%s: no oldest id in %s", name, got.body)
		}
		s.try(scenario{name: name, request: "GET /v1/events?after=" + strconv.Itoa(int(oldest)), key: "read", status: 200, has: []string{`"task_id":"t-2"`}, hasNot: []string{"t-1"}})
	}
	s.try(scenario{name: "without a cursor", request: "GET /v1/events", key: "read", status: 200, has: []string{"t-2"}, hasNot: []string{"t-1"}})
}

func (s *service) refreshAndPrune() error {
	if _, err := db.RefreshReports(s.Context(), s.pool); err != nil {
		return err
	}
	_, err := db.PruneTasks(s.Context(), s.pool, 30*24*time.Hour, 10)
	return err
}

// bufferingProxy hands on only whole blocks, and breaks after a few of them, in the middle
// of a message.
func bufferingProxy(t *testing.T, target string) *httptest.Server {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		onward := r.Clone(r.Context())
		onward.RequestURI, onward.URL.Scheme, onward.URL.Host = "", "http", strings.TrimPrefix(target, "http://")
		got, err := http.DefaultTransport.RoundTrip(onward)
		if err != nil {
			return
		}
		defer got.Body.Close()
		w.WriteHeader(got.StatusCode)
		block := make([]byte, 700)
		for range 5 {
			n, err := io.ReadFull(got.Body, block)
			if err != nil {
				return
			}
			_, _ = w.Write(block[:n])
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(proxy.Close)
	return proxy
}

func TestAProxyThatBuffersAndBreaksLosesNothing(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for n := range 20 {
		s.ended("t-"+strconv.Itoa(n), "studio")
	}
	proxy := bufferingProxy(t, s.url)
	whole := regexp.MustCompile(`(?s)^id: (\d+)\ndata: .*"task_id": "t-\d+"`)
	last, connections := "0", 0
	var seen, want []string
	for ; len(seen) < 15 && connections < 30; connections++ { // the rest waits for a block to be full
		got := s.follow(proxy.URL, last)
		for message := range readMessages(got.Body) {
			if found := whole.FindStringSubmatch(message); found != nil {
				last = found[1]
				seen = append(seen, last)
			}
		}
		_ = got.Body.Close()
	}
	rows, err := s.pool.Query(t.Context(), `select e.id::text from klingwatch.events e order by e.id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	if connections < 2 || len(seen) < 15 || !slices.Equal(seen, want[:len(seen)]) {
		t.Errorf("over %d connections came %v of %v", connections, seen, want)
	}
}
