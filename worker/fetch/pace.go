package fetch

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// errSlow ends an attempt whose host sends too little.
var errSlow = errors.New("the host sends too little, or nothing")

// pace ends an attempt that makes no progress; one that does may take as long as
// it needs.
type pace struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	least  int64
	bytes  atomic.Int64 // of this window
}

// watch returns a pace whose context ends when a window of time brought fewer bytes
// than the least. Its first window is for the answer's headers, redirects included.
func watch(ctx context.Context, window time.Duration, least int64) *pace {
	p := &pace{least: least}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	go p.run(window)
	return p
}

func (p *pace) run(window time.Duration) {
	windows := time.NewTicker(window)
	defer windows.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-windows.C:
			if p.bytes.Swap(0) < p.least {
				p.cancel(errSlow)
			}
		}
	}
}

// begin lets the window of the headers pass: the body has a full one.
func (p *pace) begin() { p.bytes.Add(p.least) }

func (p *pace) stop() { p.cancel(nil) }

// measured counts what comes from the host, before it is decoded.
type measured struct {
	body io.Reader
	pace *pace
}

func (m *measured) Read(b []byte) (int, error) {
	n, err := m.body.Read(b)
	m.pace.bytes.Add(int64(n))
	return n, err
}
