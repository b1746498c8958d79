// Package callers knows who uses a process over HTTP: how often, and what they keep open.
package callers

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/klingwatch/klingwatch/db"
)

// What one key may keep open at this process; MaxFiles is also for one signed link.
const (
	MaxStreams = 100
	MaxWaiting = 1000
	MaxFiles   = 200
)

// idle is when a key that is not used any more is forgotten.
const idle = 10 * time.Minute

// ErrTooMany says that a caller keeps open as much as it may.
var ErrTooMany = errors.New("the caller keeps too many connections open")

// Callers are the keys that were used lately, with their limits.
type Callers struct {
	rate  rate.Limit // 0: none
	mu    sync.Mutex
	known map[string]*caller
	swept time.Time
}

// Holding is what a caller keeps open.
type Holding int

// What a caller keeps open.
const (
	Stream Holding = iota
	Wait
	File
)

// mostHeld bounds what one caller keeps open.
var mostHeld = [...]int{Stream: MaxStreams, Wait: MaxWaiting, File: MaxFiles}

// caller is a key that was used lately, or a file to which a signed link leads.
type caller struct {
	limit *rate.Limiter
	used  time.Time
	held  [len(mostHeld)]int
	open  map[*int]context.CancelCauseFunc // of streams and waits
}

// New returns callers of whom each may ask so often; 0: there is no limit.
func New(perSecond float64) *Callers {
	return &Callers{rate: rate.Limit(perSecond), known: map[string]*caller{}}
}

// Take counts a request, and returns 0, or how long to wait before the next.
func (c *Callers) Take(id string) time.Duration {
	if c.rate == 0 {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	reservation := c.of(id).limit.Reserve()
	wait := reservation.Delay()
	if wait > 0 {
		reservation.Cancel()
	}
	return wait
}

// of returns a caller. The mutex is held.
func (c *Callers) of(id string) *caller {
	now := time.Now()
	if now.Sub(c.swept) > idle {
		c.swept = now
		for other, known := range c.known {
			if now.Sub(known.used) > idle && known.held == [len(mostHeld)]int{} {
				delete(c.known, other)
			}
		}
	}
	known := c.known[id]
	if known == nil {
		known = &caller{limit: rate.NewLimiter(c.rate, max(1, int(2*c.rate))), open: map[*int]context.CancelCauseFunc{}}
		c.known[id] = known
	}
	known.used = now
	return known
}

// ErrRefused ends what a key keeps open when it is revoked or expires.
var ErrRefused = errors.New("the API key is refused from now on")

// Hold counts what a key keeps open, until done is called. Its context ends when the key
// is refused. It returns ErrTooMany.
func (c *Callers) Hold(ctx context.Context, id string, what Holding) (held context.Context, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.of(id)
	if known.held[what] >= mostHeld[what] {
		return nil, nil, ErrTooMany
	}
	known.held[what]++
	held, cancel := context.WithCancelCause(ctx)
	place := new(int)
	known.open[place] = cancel
	return held, func() {
		cancel(nil)
		c.mu.Lock()
		defer c.mu.Unlock()
		known.held[what]--
		delete(known.open, place)
	}, nil
}

// refuseEvery is how soon a key that is refused loses what it keeps open.
const refuseEvery = time.Second

// Run ends what keys keep open that are revoked or expire, until ctx ends. It asks the
// database once a second, only while something is open.
func (c *Callers) Run(ctx context.Context, q db.Querier) {
	ticker := time.NewTicker(refuseEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		ids := c.Holding()
		if len(ids) == 0 {
			continue
		}
		refused, err := db.RefusedAPIKeys(ctx, q, ids)
		if err != nil {
			continue // an outage ends no stream; it is asked again in a moment
		}
		c.release(refused)
	}
}

// Holding returns the keys that keep something open.
func (c *Callers) Holding() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, known := range c.known {
		if len(known.open) > 0 && !isLink(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// isLink tells a caller by signed links, who is known by the path, from a key.
func isLink(caller string) bool { return strings.HasPrefix(caller, "/") }

// release ends what keys keep open.
func (c *Callers) release(ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		for _, cancel := range c.known[id].open {
			cancel(ErrRefused)
		}
	}
}
