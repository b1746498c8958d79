package standin

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path"
	"sync/atomic"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// FilesRole is the process of the file host.
var FilesRole = process.Role{Name: "files", Service: func(ctx context.Context) any { return &filesServer{ctx: ctx} }}

// filesServer serves files at several addresses.
type filesServer struct {
	ctx  context.Context
	plan FilePlan

	requests, resets, open, peak, bytes atomic.Int64
}

// connKey is under what a request finds its connection.
type connKey struct{}

// Open begins to listen and returns the URLs.
func (s *filesServer) Open(plan FilePlan, urls *[]string) error {
	s.plan = plan
	filler() // not while somebody waits
	picture()
	for range plan.Hosts {
		var config net.ListenConfig
		listener, err := config.Listen(s.ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		}}
		go func() { _ = server.Serve(listener) }()
		*urls = append(*urls, "http://"+listener.Addr().String()+"/")
	}
	return nil
}

// Counts returns what was seen so far.
func (s *filesServer) Counts(_ process.None, counts *FileCounts) error {
	*counts = FileCounts{Requests: s.requests.Load(), Resets: s.resets.Load(), Peak: s.peak.Load(), Bytes: s.bytes.Load()}
	return nil
}

// ServeHTTP serves a file, or a range of it.
func (s *filesServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file, ok := parseFile(path.Base(r.URL.Path))
	if !ok {
		http.NotFound(w, r)
		return
	}
	number, open := s.requests.Add(1), s.open.Add(1)
	defer s.open.Add(-1)
	for peak := s.peak.Load(); open > peak && !s.peak.CompareAndSwap(peak, open); peak = s.peak.Load() {
	}
	left := int64(-1)
	if s.plan.Resets > 0 && number%int64(s.plan.Resets) == 0 {
		left = rand.Int64N(file.Size)
	}
	w.Header().Set("ETag", fmt.Sprintf("%q", file.name()))
	http.ServeContent(&fileAnswer{ResponseWriter: w, request: r, server: s, left: left, begun: time.Now()}, r, file.name(), time.Time{}, file.content())
}

// fileAnswer sends a file at a rate, and breaks off where that is planned.
type fileAnswer struct {
	http.ResponseWriter
	request *http.Request
	server  *filesServer
	left    int64 // bytes until the connection is reset; below 0: it is not
	sent    int64
	begun   time.Time
}

// Write sends some bytes.
func (a *fileAnswer) Write(p []byte) (int, error) {
	if a.left >= 0 && a.sent+int64(len(p)) > a.left {
		_, _ = a.ResponseWriter.Write(p[:a.left-a.sent])
		a.server.resets.Add(1)
		if conn, ok := a.request.Context().Value(connKey{}).(*net.TCPConn); ok {
			_ = conn.SetLinger(0)
		}
		panic(http.ErrAbortHandler)
	}
	a.sent += int64(len(p))
	if rate := a.server.plan.Rate; rate > 0 {
		time.Sleep(time.Until(a.begun.Add(time.Duration(float64(a.sent) / float64(rate) * float64(time.Second)))))
	}
	n, err := a.ResponseWriter.Write(p)
	a.server.bytes.Add(int64(n))
	return n, err
}
