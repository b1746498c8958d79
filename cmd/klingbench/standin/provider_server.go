package standin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// ProviderRole is the process of the provider.
var ProviderRole = process.Role{Name: "provider", Service: func(ctx context.Context) any { return &providerServer{ctx: ctx} }}

// providerServer answers about tasks and takes their webhooks.
type providerServer struct {
	ctx   context.Context
	state atomic.Pointer[providerState]
}

// providerState is what the provider has seen under one plan.
type providerState struct {
	plan                  ProviderPlan
	requests, asked, told atomic.Int64
	hooks                 []atomic.Int64 // unix nanoseconds, by number from 0, which is unused
}

func newProviderState(plan ProviderPlan) *providerState {
	return &providerState{plan: plan, hooks: make([]atomic.Int64, len(plan.Lives)+1)}
}

// Listen starts the server and returns its URL.
func (s *providerServer) Listen(_ process.None, url *string) error {
	s.state.Store(newProviderState(ProviderPlan{}))
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

// Plan begins to follow a plan.
func (s *providerServer) Plan(plan ProviderPlan, _ *process.None) error {
	state := newProviderState(plan)
	s.state.Store(state)
	if plan.Callback == "" {
		return nil
	}
	for i := range plan.Lives {
		time.AfterFunc(time.Until(plan.EndOf(i+1)), func() { state.call(s.ctx, i+1) })
	}
	return nil
}

// Counts returns what was seen so far.
func (s *providerServer) Counts(_ process.None, counts *ProviderCounts) error {
	state := s.state.Load()
	*counts = ProviderCounts{Requests: state.requests.Load(), Asked: state.asked.Load(), Told: state.told.Load()}
	return nil
}

// Hooks returns when webhooks came.
func (s *providerServer) Hooks(_ process.None, hooks *[]int64) error {
	state := s.state.Load()
	*hooks = make([]int64, len(state.hooks))
	for i := range state.hooks {
		(*hooks)[i] = state.hooks[i].Load()
	}
	return nil
}

// ServeHTTP answers about a task or several, and takes webhooks.
func (s *providerServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	state, now := s.state.Load(), time.Now()
	if number, found := strings.CutPrefix(r.URL.Path, hookPath); found {
		state.hear(number, now)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	state.requests.Add(1)
	list, several := strings.CutPrefix(r.URL.RawQuery, batchQuery)
	ids := strings.Split(list, ",")
	if !several {
		ids = []string{r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]}
	}
	state.asked.Add(int64(len(ids)))
	records := make([]string, 0, len(ids))
	for _, id := range ids {
		if record, known := state.record(id, now); known {
			records = append(records, record)
		}
	}
	data := strings.Join(records, ",")
	if several {
		data = "[" + data + "]"
	} else if data == "" {
		http.Error(w, `{"code":1201,"message":"no such task"}`, http.StatusNotFound)
		return
	}
	w.Header()["Content-Type"] = jsonType
	_, _ = fmt.Fprintf(w, `{"code":0,"message":"SUCCEED","request_id":"bench","data":%s}`, data)
}

// hear notes the webhook of a task.
func (s *providerState) hear(number string, now time.Time) {
	task, err := strconv.Atoi(number)
	if err == nil && task > 0 && task < len(s.hooks) && s.hooks[task].CompareAndSwap(0, now.UnixNano()) {
		s.told.Add(1)
	}
}

// record is what the provider says of a task.
func (s *providerState) record(id string, now time.Time) (record string, known bool) {
	number, found := strings.CutPrefix(id, TaskPrefix)
	task, err := strconv.Atoi(number)
	if !found || err != nil || task < 1 || task > len(s.plan.Lives) {
		return "", false
	}
	begun, end := s.plan.BeginOf(task), s.plan.EndOf(task)
	if now.Before(end) {
		return fmt.Sprintf(`{"task_id":"%s","task_status":"processing","task_status_msg":"","created_at":%d,"updated_at":%d}`,
			id, begun.UnixMilli(), begun.UnixMilli()), true
	}
	return fmt.Sprintf(`{"task_id":"%s","task_status":"succeed","task_status_msg":"","created_at":%d,"updated_at":%d,`+
		`"task_result":{"videos":[{"id":"v1","url":"%s","duration":"%s"}]}}`,
		id, begun.UnixMilli(), end.UnixMilli(), OutputURL, OutputDuration), true
}

// call tells of an end.
func (s *providerState) call(ctx context.Context, task int) {
	record, _ := s.record(TaskID(task), time.Now())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.plan.Callback, strings.NewReader(record))
	if err != nil {
		return // its webhook comes late, which is seen
	}
	r.Header.Set("Content-Type", "application/json")
	if res, err := http.DefaultClient.Do(r); err == nil {
		_ = res.Body.Close()
	}
}
