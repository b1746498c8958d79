package main

import (
	"fmt"
	"io"
	"sync"
)

// progress is one line on a person's terminal; pipes get nothing.
type progress struct {
	w     io.Writer
	mu    sync.Mutex
	shown bool
}

func newProgress(w io.Writer) *progress { return &progress{w: w} }

// say replaces the line.
func (p *progress) say(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if terminal(p.w) {
		p.shown = true
		fmt.Fprintf(p.w, "\r\x1b[K%s ...", message)
	}
}

func (p *progress) sayf(format string, args ...any) { p.say(fmt.Sprintf(format, args...)) }

// end removes the line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		p.shown = false
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
