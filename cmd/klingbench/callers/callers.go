package callers

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// Role is the process of the callers.
var Role = process.Role{Name: "callers", Service: func(ctx context.Context) any { return &crowd{ctx: ctx} }}

// Callers is the process, seen from the parent.
type Callers struct{ *process.Child }

// Place is where callers call, and with which keys, in turns.
type Place struct {
	Address string // host and port
	Keys    []string
}

// FollowPlan has clients follow the feed from now on.
type FollowPlan struct {
	Place
	Clients int
}

// WaitPlan has clients wait for tasks, each for one.
type WaitPlan struct {
	Place
	Tasks     []int64
	PerSecond int // how many begin to wait in a second
}

// Told is an event that all followers should have got.
type Told struct {
	ID                    int64
	Committing, Committed int64 // just before its commit was sent, and after it returned, in unix nanoseconds
	Counts                bool  // its latency does
}

// Followed is what the followers got of what they should have.
type Followed struct {
	Lost      int     // an event that a client did not get
	Doubled   int     // one that it got twice
	Returns   int     // reconnections
	Latencies []int64 // from the commit to the message, in nanoseconds
}

// Answer is that to one waiter.
type Answer struct {
	Task   int64
	At     int64 // when it had come, in unix nanoseconds
	Status int
}

// Follow begins to follow, and returns.
func (c *Callers) Follow(ctx context.Context, plan FollowPlan) error {
	return c.Do(ctx, "Follow", plan)
}

// Behind counts the followers that have not got an event, or a later one.
func (c *Callers) Behind(ctx context.Context, id int64) (behind int, err error) {
	err = c.Call(ctx, "Behind", id, &behind)
	return behind, err
}

// Followed compares what the followers got with what they should have.
func (c *Callers) Followed(ctx context.Context, told []Told) (followed Followed, err error) {
	err = c.Call(ctx, "Followed", told, &followed)
	return followed, err
}

// Wait has them begin to wait, and returns when all have asked.
func (c *Callers) Wait(ctx context.Context, plan WaitPlan) error { return c.Do(ctx, "Wait", plan) }

// Answers returns what the waiters were answered so far.
func (c *Callers) Answers(ctx context.Context) ([]Answer, error) {
	return process.Ask[[]Answer](ctx, c.Child, "Answers")
}

// ask sends a GET over a connection of its own, which ends with ctx. It is as little as
// a client can do: thousands of them share the machine with the server.
func (p Place) ask(ctx context.Context, n int, target string, headers string) (body io.ReadCloser, status int, err error) {
	dialer := net.Dialer{Timeout: dialLimit}
	conn, err := dialer.DialContext(ctx, "tcp", p.Address)
	if err != nil {
		return nil, 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if err != nil {
			stop()
			_ = conn.Close()
		}
	}()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s\r\n", target, p.Address, p.Keys[n%len(p.Keys)], headers); err != nil {
		return nil, 0, err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, 0, err
	}
	return &answer{response.Body, conn, stop}, response.StatusCode, nil
}

const dialLimit = 5 * time.Second

// answer is a body with its connection.
type answer struct {
	io.Reader
	conn net.Conn
	stop func() bool
}

// Close ends the connection.
func (a *answer) Close() error {
	a.stop()
	return a.conn.Close()
}
