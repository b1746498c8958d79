package main

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// All tasks of a measurement are alike but for their number.
const (
	action     = "videos"
	action2    = "text2video"
	taskPrefix = "bench-"
	hookPath   = "/hook/"
)

func taskID(number int) string { return taskPrefix + strconv.Itoa(number) }

// never as StubPlan.Polls makes tasks that do not end.
const never = 0

// StubPlan is how the relay of one measurement behaves.
type StubPlan struct {
	Tasks int  // their numbers are 1 to Tasks
	Polls int  // the last of so many replies says succeed, the others processing; never: none does
	Log   bool // keep the time of every request
}

// StubCounts is what the relay has seen since its plan was set.
type StubCounts struct {
	Polls int64 // requests
	Asked int64 // tasks that were asked at least once
	Ended int64 // tasks whose last reply was sent
	Since int64 // tasks that were asked at least once since the last Mark
	Peak  int64 // most requests in a second, looked at in steps of windowStep
}

// arrival is one request of a task.
type arrival struct {
	Task int32
	At   int64 // unix nanoseconds
}

// moments of one task at the relay, unix nanoseconds, 0: not yet.
type moments struct {
	First int64 // first request
	Ended int64 // the last reply was sent
	Hook  int64 // the webhook arrived
}

// windowStep is the resolution at which windows of one second are looked at.
const windowStep = 100 * time.Millisecond

// windowSteps bounds a measurement to an hour.
const windowSteps = int(time.Hour / windowStep)

// stub is a relay that costs little, and the receiver of webhooks. It is a
// plain net/http server: what a relay in Go costs at least.
type stub struct {
	ctx   context.Context
	state atomic.Pointer[stubState]
}

// stubState belongs to one plan.
type stubState struct {
	plan  StubPlan
	begun time.Time
	tasks []stubTask // by number, from 1

	polls, asked, ended, since atomic.Int64
	mark                       atomic.Int64 // unix nanoseconds
	windows                    [windowSteps]atomic.Int32

	mu  sync.Mutex
	log []arrival
}

type stubTask struct{ polls, first, last, ended, hook atomic.Int64 }

// Listen starts the server and returns its URL.
func (s *stub) Listen(_ none, url *string) error {
	s.state.Store(newStubState(StubPlan{}))
	var config net.ListenConfig
	listener, err := config.Listen(s.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	*url = "http://" + listener.Addr().String()
	return nil
}

func newStubState(plan StubPlan) *stubState {
	return &stubState{plan: plan, begun: time.Now(), tasks: make([]stubTask, plan.Tasks+1)}
}

// Plan forgets everything and begins anew.
func (s *stub) Plan(plan StubPlan, _ *none) error { //nolint:unparam // net/rpc wants an error
	s.state.Store(newStubState(plan))
	return nil
}

// Mark begins the count of tasks that are asked again.
func (s *stub) Mark(_ none, _ *none) error { //nolint:unparam // net/rpc wants an error
	state := s.state.Load()
	state.mark.Store(time.Now().UnixNano())
	state.since.Store(0)
	return nil
}

// Counts tells what was seen so far.
func (s *stub) Counts(_ none, counts *StubCounts) error { //nolint:unparam // net/rpc wants an error
	state := s.state.Load()
	*counts = StubCounts{
		Polls: state.polls.Load(), Asked: state.asked.Load(), Ended: state.ended.Load(), Since: state.since.Load(),
		Peak: state.peak(),
	}
	return nil
}

// Arrivals returns the log of requests.
func (s *stub) Arrivals(_ none, log *[]arrival) error {
	state := s.state.Load()
	state.mu.Lock()
	defer state.mu.Unlock()
	*log = append([]arrival(nil), state.log...)
	return nil
}

// Moments returns the moments of every task, by number from 0, which is unused.
func (s *stub) Moments(_ none, list *[]moments) error { //nolint:unparam // net/rpc wants an error
	state := s.state.Load()
	out := make([]moments, len(state.tasks))
	for i := range state.tasks {
		t := &state.tasks[i]
		out[i] = moments{t.first.Load(), t.ended.Load(), t.hook.Load()}
	}
	*list = out
	return nil
}

// ServeHTTP answers polls and takes webhooks.
func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	state := s.state.Load()
	if number, found := strings.CutPrefix(r.URL.Path, hookPath); found {
		if task := state.task(number); task != nil {
			task.hook.CompareAndSwap(0, now.UnixNano())
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	_, number, _ := strings.Cut(r.URL.Path, taskPrefix)
	task := state.task(number)
	if task == nil {
		http.Error(w, `{"code":1201,"message":"no such task"}`, http.StatusNotFound)
		return
	}
	last := state.count(task, number, now)
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(reply(number, last))
	if last && task.ended.CompareAndSwap(0, time.Now().UnixNano()) {
		state.ended.Add(1)
	}
}

var jsonType = []string{"application/json"}

func (s *stubState) task(number string) *stubTask {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n >= len(s.tasks) {
		return nil
	}
	return &s.tasks[n]
}

// count notes one request and tells whether the task ends with its reply.
func (s *stubState) count(task *stubTask, number string, now time.Time) (last bool) {
	at := now.UnixNano()
	s.polls.Add(1)
	if step := int(now.Sub(s.begun) / windowStep); step >= 0 && step < windowSteps {
		s.windows[step].Add(1)
	}
	if task.first.CompareAndSwap(0, at) {
		s.asked.Add(1)
	}
	if mark := s.mark.Load(); mark > 0 && task.last.Swap(at) < mark {
		s.since.Add(1)
	}
	if s.plan.Log {
		n, _ := strconv.Atoi(number)
		s.mu.Lock()
		s.log = append(s.log, arrival{int32(n), at})
		s.mu.Unlock()
	}
	polls := task.polls.Add(1)
	return s.plan.Polls != never && polls >= int64(s.plan.Polls)
}

// peak is the most requests in ten steps in a row.
func (s *stubState) peak() int64 {
	const second = int(time.Second / windowStep)
	var sum, most int64
	until := min(int(time.Since(s.begun)/windowStep)+1, windowSteps)
	for i := range until {
		sum += int64(s.windows[i].Load())
		if i >= second {
			sum -= int64(s.windows[i-second].Load())
		}
		most = max(most, sum)
	}
	return most
}

// The documented answer of Kling, compact.
const (
	replyHead = `{"code":0,"message":"SUCCEED","request_id":"bench","data":{"task_id":"` + taskPrefix
	replyBody = `","task_status":"processing","task_status_msg":"","created_at":1760000000000,"updated_at":1760000001000}}`
	replyLast = `","task_status":"succeed","task_status_msg":"","created_at":1760000000000,"updated_at":1760000009000,` +
		`"task_result":{"videos":[{"id":"v1","url":"https://files.example/v1.mp4","duration":"5.041"}]}}}`
)

func reply(number string, last bool) []byte {
	tail := replyBody
	if last {
		tail = replyLast
	}
	b := make([]byte, 0, len(replyHead)+len(number)+len(tail))
	return append(append(append(b, replyHead...), number...), tail...)
}
