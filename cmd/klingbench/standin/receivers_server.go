package standin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// ReceiversRole is the process of the receivers.
var ReceiversRole = process.Role{Name: "receivers", Service: func(ctx context.Context) any { return &receiversServer{ctx: ctx} }}

// receiversServer listens for all receivers.
type receiversServer struct {
	ctx context.Context

	mu     sync.Mutex
	counts ReceiverCounts
	open   int64 // requests that are not answered yet
	hits   []Hit
}

// Open begins to listen and returns the URLs.
func (s *receiversServer) Open(plan ReceiverPlan, urls *[]string) error {
	for range plan.Places {
		url, err := s.listen(func(w http.ResponseWriter, r *http.Request) { s.serve(plan, w, r) })
		if err != nil {
			return err
		}
		*urls = append(*urls, url)
	}
	return nil
}

// OpenPaths begins to listen and returns the URL of each path.
func (s *receiversServer) OpenPaths(manners []string, urls *[]string) error {
	url, err := s.listen(func(w http.ResponseWriter, r *http.Request) {
		path, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, hookPath))
		if err != nil || path < 0 || path >= len(manners) {
			http.NotFound(w, r)
			return
		}
		s.serve(ReceiverPlan{Manner: manners[path], Log: manners[path] == Prompt}, w, r)
	})
	for i := range manners {
		*urls = append(*urls, url+strconv.Itoa(i))
	}
	return err
}

// listen begins to listen on a free port.
func (s *receiversServer) listen(serve http.HandlerFunc) (url string, err error) {
	var config net.ListenConfig
	listener, err := config.Listen(s.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: serve, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String() + hookPath, nil
}

// Counts returns what was seen so far.
func (s *receiversServer) Counts(_ process.None, counts *ReceiverCounts) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*counts = s.counts
	return nil
}

// Hits returns the log of requests, in the order of their arrival.
func (s *receiversServer) Hits(_ process.None, hits *[]Hit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*hits = slices.Clone(s.hits)
	return nil
}

func (s *receiversServer) serve(plan ReceiverPlan, w http.ResponseWriter, r *http.Request) {
	s.begin(plan, Hit{r.Header.Get("webhook-id"), time.Now().UnixNano()})
	defer s.end()
	_, _ = io.Copy(io.Discard, r.Body)
	switch plan.Manner {
	case Prompt:
		w.WriteHeader(http.StatusNoContent)
	case Failing:
		w.WriteHeader(http.StatusInternalServerError)
	case Silent:
		<-r.Context().Done() // the sender has gone
	case Dripping:
		drip(w)
	case Breaking:
		panic(http.ErrAbortHandler)
	case Limiting:
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

func (s *receiversServer) begin(plan ReceiverPlan, hit Hit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	s.counts.Requests++
	s.counts.Peak = max(s.counts.Peak, s.open)
	if plan.Log {
		s.counts.Logged++
		s.hits = append(s.hits, hit)
	}
}

func (s *receiversServer) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

// dripEvery is the time between two bytes of dripped, which lasts longer than any
// timeout that a sender may have here.
const (
	dripEvery = time.Second
	dripped   = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 0\r\n\r\n"
)

// drip sends the head of an answer byte by byte, until the sender has gone.
func drip(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	for i := range len(dripped) {
		if _, err := io.WriteString(conn, dripped[i:i+1]); err != nil {
			return
		}
		_ = conn.SetReadDeadline(time.Now().Add(dripEvery))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}
