package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// The manners of receivers.
const (
	prompt   = "prompt"   // 204 at once
	failing  = "failing"  // 500 at once
	silent   = "silent"   // takes the request and never answers
	dripping = "dripping" // answers a byte per second
)

// dripEvery is between two bytes of dripped, which is long enough for any timeout
// that a sender may have here.
const (
	dripEvery = time.Second
	dripped   = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 0\r\n\r\n"
)

// ReceiverPlan is a group of receivers, each with an address of its own.
type ReceiverPlan struct {
	Places int
	Manner string
	Log    bool // keep the time of every request
}

// ReceiverCounts is what all receivers of the process have seen.
type ReceiverCounts struct {
	Requests int64
	Logged   int64 // of them, to those that log
	Peak     int64 // most that were on their way at once
}

// hit is one request.
type hit struct {
	ID string // webhook-id
	At int64  // unix nanoseconds, microseconds after its first byte: when its header was read
}

// receivers are the places that webhooks go to, all in one process.
type receivers struct {
	ctx context.Context

	mu     sync.Mutex
	counts ReceiverCounts
	now    int64 // requests on their way
	hits   []hit
}

// Open begins to listen and returns the URLs.
func (rs *receivers) Open(plan ReceiverPlan, urls *[]string) error {
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { rs.serve(plan, w, r) }),
		ReadHeaderTimeout: time.Minute,
	}
	var config net.ListenConfig
	for range plan.Places {
		listener, err := config.Listen(rs.ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go func() { _ = server.Serve(listener) }()
		*urls = append(*urls, "http://"+listener.Addr().String()+hookPath)
	}
	return nil
}

// Counts tells what was seen so far.
func (rs *receivers) Counts(_ none, counts *ReceiverCounts) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	*counts = rs.counts
	return nil
}

// Hits returns the log of requests, in the order of their arrival.
func (rs *receivers) Hits(_ none, hits *[]hit) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	*hits = append([]hit(nil), rs.hits...)
	return nil
}

func (rs *receivers) serve(plan ReceiverPlan, w http.ResponseWriter, r *http.Request) {
	rs.begin(plan, hit{r.Header.Get("webhook-id"), time.Now().UnixNano()})
	defer rs.end()
	_, _ = io.Copy(io.Discard, r.Body)
	switch plan.Manner {
	case prompt:
		w.WriteHeader(http.StatusNoContent)
	case failing:
		w.WriteHeader(http.StatusInternalServerError)
	case silent:
		<-r.Context().Done() // the sender has gone
	case dripping:
		drip(w)
	}
}

func (rs *receivers) begin(plan ReceiverPlan, h hit) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.now++
	rs.counts.Requests++
	rs.counts.Peak = max(rs.counts.Peak, rs.now)
	if plan.Log {
		rs.counts.Logged++
		rs.hits = append(rs.hits, h)
	}
}

func (rs *receivers) end() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.now--
}

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

// receiverProcess is the process of the receivers, seen from the parent.
type receiverProcess struct{ *child }

func (b *bench) withReceivers(ctx context.Context, work func(*receiverProcess) error) error {
	return b.withProcess(ctx, "receivers", func(c *child) error { return work(&receiverProcess{c}) })
}

func (r *receiverProcess) open(ctx context.Context, plan ReceiverPlan) (urls []string, err error) {
	err = r.call(ctx, "Open", plan, &urls)
	return urls, err
}

func (r *receiverProcess) look(ctx context.Context) (counts ReceiverCounts, err error) {
	err = r.call(ctx, "Counts", none(true), &counts)
	return counts, err
}

// await waits until holds says so; what tells what for, limit how long at most.
func (r *receiverProcess) await(ctx context.Context, what string, limit time.Duration, holds func(ReceiverCounts) bool) error {
	_, err := await(ctx, what, limit, func() (ReceiverCounts, error) { return r.look(ctx) }, holds)
	return err
}

// usage reads all counters; client is the process that sends.
func (r *receiverProcess) usage(ctx context.Context, b *bench, client *child) (usage, error) {
	counts, err := r.look(ctx)
	if err != nil {
		return usage{}, err
	}
	return b.usageOf(ctx, client, r.child, counts.Requests)
}
