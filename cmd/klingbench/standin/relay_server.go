package standin

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// RelayRole is the process of the relay.
var RelayRole = process.Role{Name: "relay", Service: func(ctx context.Context) any { return &relayServer{ctx: ctx} }}

const hookPath = "/hook/"

// relayServer answers polls and takes webhooks. It is a plain net/http server:
// what a relay in Go costs at least.
type relayServer struct {
	ctx   context.Context
	state atomic.Pointer[relayState]
}

// Listen starts the server and returns its URL.
func (s *relayServer) Listen(_ process.None, url *string) error {
	s.state.Store(newRelayState(RelayPlan{}))
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

// Plan forgets everything and begins anew.
func (s *relayServer) Plan(plan RelayPlan, _ *process.None) error {
	s.state.Store(newRelayState(plan))
	return nil
}

// Mark begins the count of tasks that are polled again.
func (s *relayServer) Mark(_ process.None, _ *process.None) error {
	s.state.Load().setMark()
	return nil
}

// Counts returns what was seen so far.
func (s *relayServer) Counts(_ process.None, counts *RelayCounts) error {
	*counts = s.state.Load().counts()
	return nil
}

// Arrivals returns the log of requests.
func (s *relayServer) Arrivals(_ process.None, log *[]Arrival) error {
	*log = s.state.Load().arrivals()
	return nil
}

// Moments returns the moments of every task, by number from 0, which is unused.
func (s *relayServer) Moments(_ process.None, list *[]Moments) error {
	*list = s.state.Load().moments()
	return nil
}

var jsonType = []string{"application/json"}

// ServeHTTP answers polls and takes webhooks.
func (s *relayServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	state := s.state.Load()
	if number, found := strings.CutPrefix(r.URL.Path, hookPath); found {
		if _, task := state.find(number); task != nil {
			task.hook.CompareAndSwap(0, now.UnixNano())
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	_, digits, _ := strings.Cut(r.URL.Path, TaskPrefix)
	number, task := state.find(digits)
	if task == nil {
		http.Error(w, `{"code":1201,"message":"no such task"}`, http.StatusNotFound)
		return
	}
	last := state.count(number, task, now)
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(Reply(number, last))
	if last {
		state.end(task)
	}
}
