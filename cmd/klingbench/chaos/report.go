package chaos

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// mostWrong examples are printed of one verdict.
const mostWrong = 5

// report prints what happens, one line each.
type report struct {
	mu    sync.Mutex
	out   io.Writer
	begun time.Time
}

// saidf prints a line with the time since the beginning of the faults.
func (r *report) saidf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Since(r.begun).Round(second)
	fmt.Fprintf(r.out, "%2d:%02d  %s\n", int(at.Minutes()), int(at.Seconds())%60, fmt.Sprintf(format, args...))
}

// printf prints a line without a time.
func (r *report) printf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, format+"\n", args...)
}

// verdicts prints each verdict with its mark, and returns how many are faults.
func (r *report) verdicts(all []verdict) (faults int) {
	for _, v := range all {
		if len(v.wrong) == 0 {
			r.printf("ok     %s", v.what)
			continue
		}
		faults++
		r.printf("FAULT  %s: not so: %s", v.what, examples(v.wrong))
	}
	return faults
}

// examples are the first of many, on one line.
func examples(wrong []string) string {
	text := outbound.Line(strings.Join(wrong[:min(mostWrong, len(wrong))], "; "))
	if more := len(wrong) - mostWrong; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}
