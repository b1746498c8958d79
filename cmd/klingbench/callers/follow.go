package callers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// firstReturn is how soon a client comes back that was not told when.
const firstReturn = 500 * time.Millisecond

// crowd is all callers.
type crowd struct {
	ctx       context.Context
	followers []*follower

	mu      sync.Mutex
	answers []Answer
}

// follower is one client that follows the feed.
type follower struct {
	place  Place
	number int

	mu      sync.Mutex
	last    int64 // Last-Event-ID
	back    time.Duration
	returns int
	got     []arrival
}

type arrival struct{ id, at int64 }

// Follow begins to follow, and returns.
func (c *crowd) Follow(plan FollowPlan, _ *process.None) error {
	for i := range plan.Clients {
		f := &follower{place: plan.Place, number: i, back: firstReturn}
		c.followers = append(c.followers, f)
		go f.run(c.ctx)
	}
	return nil
}

// run follows, and comes back after each end, as EventSource does.
func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = f.follow(ctx) // the server is gone, for a while
		select {
		case <-ctx.Done():
		case <-time.After(f.back):
		}
		f.mu.Lock()
		f.returns++
		f.mu.Unlock()
	}
}

func (f *follower) follow(ctx context.Context) error {
	headers := "Accept: text/event-stream\r\n"
	if f.last > 0 {
		headers += fmt.Sprintf("Last-Event-ID: %d\r\n", f.last)
	}
	body, status, err := f.place.ask(ctx, f.number, "/v1/events", headers)
	if err != nil {
		return err
	}
	defer body.Close()
	if status != http.StatusOK {
		return fmt.Errorf("status %d", status)
	}
	return f.read(bufio.NewReader(body))
}

// read notes the id of each message that has data, when it has come in full.
func (f *follower) read(lines *bufio.Reader) error {
	id, data := int64(0), false
	for {
		line, rest, err := readLine(lines)
		if err != nil {
			return err
		}
		field, value, _ := bytes.Cut(line, []byte(": "))
		switch string(field) {
		case "retry":
			ms, _ := strconv.Atoi(string(value))
			f.back = time.Duration(ms) * time.Millisecond
		case "id":
			id, _ = strconv.ParseInt(string(value), 10, 64)
		case "data":
			data = true
		case "":
			if rest || id == 0 {
				continue // of a comment
			}
			f.note(id, data)
			id, data = 0, false
		}
	}
}

// readLine returns the beginning of a line, and whether it was not empty.
func readLine(r *bufio.Reader) (line []byte, rest bool, err error) {
	line, err = r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line = bytes.Clone(line) // its end does not matter, and overwrites its beginning
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.ReadSlice('\n')
	}
	line = bytes.TrimRight(line, "\r\n")
	return line, len(line) > 0, err
}

func (f *follower) note(id int64, data bool) {
	now := time.Now().UnixNano()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = id
	if data {
		f.got = append(f.got, arrival{id, now})
	}
}

// Behind counts those that have not got an event, or a later one.
func (c *crowd) Behind(id int64, behind *int) error {
	for _, f := range c.followers {
		f.mu.Lock()
		if f.last < id {
			*behind++
		}
		f.mu.Unlock()
	}
	return nil
}

// Followed compares what was got with what should have been.
func (c *crowd) Followed(told []Told, seen *Followed) error {
	for _, f := range c.followers {
		f.mu.Lock()
		compare(f.got, told, seen)
		seen.Returns += f.returns
		f.mu.Unlock()
	}
	return nil
}

// compare adds one client to what is seen.
func compare(got []arrival, told []Told, seen *Followed) {
	first := make(map[int64]int64, len(got))
	for _, a := range got {
		if _, again := first[a.id]; again {
			seen.Doubled++
			continue
		}
		first[a.id] = a.at
	}
	for _, t := range told {
		at, ok := first[t.ID]
		switch {
		case !ok:
			seen.Lost++
		case !t.Counts:
		case at < t.Committed: // Postgres notifies the server before it answers the commit
			seen.Latencies = append(seen.Latencies, at-t.Committing)
		default:
			seen.Latencies = append(seen.Latencies, at-t.Committed)
		}
	}
}
