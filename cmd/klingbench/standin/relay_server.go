package standin

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// RelayRole is the process of the relay.
var RelayRole = process.Role{Name: "relay", Service: func(ctx context.Context) any { return &relayServer{ctx: ctx} }}

const (
	hookPath   = "/hook/"
	batchPath  = "/tasks?" + batchQuery // as Kling's new family has it
	batchQuery = "task_ids="
)

// relayServer answers polls and takes webhooks. It is a plain net/http server:
// what a relay in Go costs at least.
type relayServer struct {
	ctx   context.Context
	state atomic.Pointer[relayState]
}

// Listen starts the server and returns where it is asked.
func (s *relayServer) Listen(_ process.None, at *Addresses) error {
	s.state.Store(newRelayState(RelayPlan{}))
	certificate, authority, err := newCertificate()
	if err != nil {
		return err
	}
	// one server for each: a server that serves plain connections first sets up no HTTP/2, and
	// hangs up on those that it has agreed on HTTP/2 with
	plain := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	secure := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}}
	var config net.ListenConfig
	for _, one := range []struct {
		address *Address
		scheme  string
		serve   func(net.Listener) error
	}{
		{&at.Plain, "http://", plain.Serve},
		{&at.Secure, "https://", func(l net.Listener) error { return secure.ServeTLS(l, "", "") }},
	} {
		listener, err := config.Listen(s.ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		one.address.URL = one.scheme + listener.Addr().String()
		go func() { _ = one.serve(listener) }()
	}
	at.Secure.Authority = authority
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
	state.countRequest(now, r.ProtoMajor == 2)
	w.Header()["Content-Type"] = jsonType
	if ids, found := strings.CutPrefix(r.URL.RawQuery, batchQuery); found {
		state.answerBatch(w, ids, now)
		return
	}
	_, digits, _ := strings.Cut(r.URL.Path, TaskPrefix)
	number, task := state.find(digits)
	if task == nil {
		http.Error(w, `{"code":1201,"message":"no such task"}`, http.StatusNotFound)
		return
	}
	last := state.count(number, task, now)
	_, _ = w.Write(Reply(number, last))
	if last {
		state.end(task)
	}
}

// answerBatch answers about several tasks; it leaves out those that it does not know.
func (s *relayState) answerBatch(w http.ResponseWriter, ids string, now time.Time) {
	reply := newBatchReply()
	var ended []*relayTask
	for id := range strings.SplitSeq(ids, ",") {
		number, task := s.find(strings.TrimPrefix(id, TaskPrefix))
		if task == nil {
			continue
		}
		last := s.count(number, task, now)
		reply.add(number, last)
		if last {
			ended = append(ended, task)
		}
	}
	_, _ = w.Write(reply.end())
	for _, task := range ended {
		s.end(task)
	}
}
