package figures

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// Console is where a command writes: figures to Out, progress to Err.
type Console struct{ Out, Err io.Writer }

// terminal reports whether a person watches w.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Progress is one line on a terminal that says what is going on. Nothing is
// written to anything but a terminal.
type Progress struct {
	w     io.Writer
	mu    sync.Mutex
	shown bool
}

// NewProgress returns a progress line on w.
func NewProgress(w io.Writer) *Progress { return &Progress{w: w} }

// Say replaces the line.
func (p *Progress) Say(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if terminal(p.w) {
		p.shown = true
		fmt.Fprintf(p.w, "\r\x1b[K%s ...", message)
	}
}

// Sayf replaces the line with a formatted message.
func (p *Progress) Sayf(format string, args ...any) { p.Say(fmt.Sprintf(format, args...)) }

// End removes the line.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		p.shown = false
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
