package poll

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// batching is a relay that is asked for several tasks at once, all of which go on. It
// needs no network, so that time can be a fake.
type batching struct {
	most     int             // ids that it takes
	culprits map[string]bool // refused in company, answered alone

	mu       sync.Mutex
	requests [][]string             // their ids
	answered map[string][]time.Time // when there was a good answer about a task; nil: of no interest
}

// take makes the relay take other numbers of ids.
func (b *batching) take(most int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.most = most
}

func (b *batching) RoundTrip(req *http.Request) (*http.Response, error) {
	ids := strings.Split(req.URL.Query().Get("task_ids"), ",")
	b.mu.Lock()
	b.requests = append(b.requests, ids)
	most := b.most
	b.mu.Unlock()
	time.Sleep(50 * time.Millisecond)
	status, body := http.StatusOK, `{"code":0,"message":"SUCCEED","data":[`
	for i, id := range ids {
		if i > 0 {
			body += ","
		}
		body += fmt.Sprintf(`{"id":%q,"status":"processing"}`, id)
	}
	body += "]}"
	b.mu.Lock()
	defer b.mu.Unlock()
	guilty := slices.ContainsFunc(ids, func(id string) bool { return b.culprits[id] })
	if b.answered != nil && len(ids) <= most && (len(ids) == 1 || !guilty) {
		for _, id := range ids {
			b.answered[id] = append(b.answered[id], time.Now())
		}
	}
	if len(ids) > most || len(ids) > 1 && guilty {
		status, body = http.StatusBadRequest, `{"code":1201,"message":"invalid task_ids"}`
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// asked counts how often each task was asked about, and the requests for one, from a
// request on.
func (b *batching) asked(from int) (byTask map[string]int, requests, alone int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	byTask = map[string]int{}
	for _, ids := range b.requests[from:] {
		requests++
		if len(ids) == 1 {
			alone++
		}
		for _, id := range ids {
			byTask[id]++
		}
	}
	return byTask, requests, alone
}

const batchPath = "/tasks?task_ids={task_ids}"

// 10,000 tasks on 20 requests per second are each asked about every 25 s.
func TestManyTasksOfABatchingRelayAreAskedOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tasks = 10_000
		relay := &batching{most: 20}
		b := newBenchAt(t, 5*time.Second, 20, relay, batchPath)
		for id := range int64(tasks) {
			b.keep(processing(id), Memory{})
		}
		time.Sleep(30 * time.Second) // a first round
		_, before, _ := relay.asked(0)
		time.Sleep(100 * time.Second)
		byTask, requests, _ := relay.asked(before)
		b.stop()
		least, most := 1000, 0
		for id := range tasks {
			n := byTask[fmt.Sprint(id)]
			least, most = min(least, n), max(most, n)
		}
		if least < 3 || most > 5 {
			t.Errorf("in 100 s the tasks were asked about %d to %d times, want 4", least, most)
		}
		if requests > 100*20*101/100 {
			t.Errorf("%d requests in 100 s at 20 per second", requests)
		}
	})
}

func TestFewTasksOfABatchingRelayShareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := &batching{most: 20}
		b := newBenchAt(t, 5*time.Second, 50, relay, batchPath)
		for id := range int64(40) {
			b.Watch(processing(id), Memory{})
		}
		time.Sleep(100 * time.Second)
		b.stop()
		byTask, requests, _ := relay.asked(0)
		if n := byTask["7"]; n < 18 {
			t.Errorf("a task was asked about %d times in 100 s", n)
		}
		if requests > 40*20/5 {
			t.Errorf("%d requests for 40 tasks, 20 times each", requests)
		}
	})
}

// The others of a batch must not pay for one.
func TestACulpritIsFoundByHalves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := &batching{most: 20, culprits: map[string]bool{"13": true}}
		b := newBenchAt(t, 5*time.Second, 50, relay, batchPath)
		for id := range int64(20) {
			b.Watch(processing(id), Memory{Next: time.Now()})
		}
		time.Sleep(2 * time.Second)
		byTask, requests, _ := relay.asked(0)
		if requests > 11 {
			t.Errorf("%d requests to find one among 20", requests)
		}
		for id := range 20 {
			if n := byTask[fmt.Sprint(id)]; n > 6 {
				t.Errorf("task %d was in %d requests", id, n)
			}
		}
		time.Sleep(60 * time.Second)
		byTask, more, _ := relay.asked(requests)
		b.stop()
		if byTask["13"] < 8 || byTask["12"] < 8 {
			t.Errorf("in a minute the culprit was asked about %d times, another %d times", byTask["13"], byTask["12"])
		}
		if more > 3*14 { // in each round two alone, the others together
			t.Errorf("%d requests in a minute", more)
		}
	})
}

func TestARelayThatTakesNoBatchesAnyMoreIsAskedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := &batching{most: 1}
		b := newBenchAt(t, 5*time.Second, 200, relay, batchPath)
		for id := range int64(40) {
			b.Watch(processing(id), Memory{Next: time.Now()})
		}
		time.Sleep(30 * time.Second)
		_, before, _ := relay.asked(0)
		time.Sleep(60 * time.Second)
		byTask, requests, alone := relay.asked(before)
		if alone != requests || byTask["7"] < 8 {
			t.Errorf("%d requests, %d of them for one task; one was asked about %d times in a minute", requests, alone, byTask["7"])
		}
		// after a while it is tried again
		relay.take(20)
		time.Sleep(shortFor)
		_, before, _ = relay.asked(0)
		time.Sleep(time.Minute)
		_, requests, alone = relay.asked(before)
		b.stop()
		if alone > requests/2 {
			t.Errorf("%d of %d requests are for one task, although the relay takes 20", alone, requests)
		}
	})
}

func TestARelayThatTakesFewerIsAskedForFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := &batching{most: 12}
		b := newBenchAt(t, 5*time.Second, 200, relay, batchPath)
		for id := range int64(100) {
			b.Watch(processing(id), Memory{Next: time.Now()})
		}
		time.Sleep(20 * time.Second)
		_, before, _ := relay.asked(0)
		time.Sleep(60 * time.Second)
		b.stop()
		relay.mu.Lock()
		defer relay.mu.Unlock()
		for _, ids := range relay.requests[before:] {
			if len(ids) > 12 {
				t.Fatalf("asked for %d tasks, although the relay takes 12", len(ids))
			}
		}
	})
}

// The trouble of a moment must not cost a relay its batches.
func TestAHiccupDoesNotEndBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := &batching{most: 20}
		b := newBenchAt(t, 5*time.Second, 200, relay, batchPath)
		for id := range int64(200) {
			b.keep(processing(id), Memory{})
		}
		perMinute := func() (requests, alone int) {
			_, before, _ := relay.asked(0)
			time.Sleep(time.Minute)
			_, requests, alone = relay.asked(before)
			return requests, alone
		}
		time.Sleep(30 * time.Second)
		before, _ := perMinute()
		relay.take(1)
		time.Sleep(15 * time.Second)
		relay.take(20)
		time.Sleep(2 * shortFor)
		after, alone := perMinute()
		b.stop()
		if after > before*3/2 || alone > after/5 {
			t.Errorf("%d requests a minute before, %d long after, %d of them for one task", before, after, alone)
		}
	})
}

// While the rate is the bottleneck, the company of a culprit does not queue behind all others.
func TestACulpritDoesNotDelayItsCompanyUnderBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := &batching{most: 20, culprits: map[string]bool{}}
		b := newBenchAt(t, 5*time.Second, 20, relay, batchPath)
		for id := range int64(4000) {
			b.keep(processing(id), Memory{})
		}
		time.Sleep(30 * time.Second)
		relay.mu.Lock()
		relay.culprits["777"] = true
		relay.answered = map[string][]time.Time{}
		relay.mu.Unlock()
		time.Sleep(100 * time.Second)
		b.stop()
		worst := time.Duration(0)
		for _, times := range relay.answered {
			for i := 1; i < len(times); i++ {
				worst = max(worst, times[i].Sub(times[i-1]))
			}
		}
		if worst > 16*time.Second { // a round takes 10 s
			t.Errorf("a task was not answered about for %s", worst)
		}
	})
}

// The requests of a search fill the rate, so that meanwhile no other shows what the relay
// takes: one search alone proves nothing.
func TestOneSearchDoesNotMakeRequestsSmaller(t *testing.T) {
	t.Parallel()
	limit, first, second := &batchLimit{}, &search{}, &search{}
	for _, step := range []struct {
		name string
		by   *search
		size int
		want bool
	}{
		{"the first", first, 3, false},
		{"the same once more", first, 2, false},
		{"another", second, 2, true},
	} {
		if got := limit.doubt(step.size, step.by); got != step.want {
			t.Errorf("%s: %t", step.name, got)
		}
	}
	limit.noteAnswer(20)
	if limit.doubt(2, first) {
		t.Error("an answer about 20 at once has not ended the doubt")
	}
}
