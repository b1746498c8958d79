package worker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/outbound"
)

// calmAfter is how long nothing must fail until the database counts as well again.
const calmAfter = 10 * time.Second

// outageLog is a log that tells a trouble of the database once when it begins and once
// when it is over, however many jobs meet it. What it says else passes.
type outageLog struct {
	slog.Handler
	outages *outages
	rivers  bool // it is River's own, whose warnings meanwhile come from the trouble, too
}

// newOutageLog returns a log above another one.
func newOutageLog(above slog.Handler) outageLog {
	return outageLog{above, &outages{log: above}, false}
}

// forRiver returns the log for River, which counts the same troubles.
func (l outageLog) forRiver() outageLog {
	return outageLog{riverLog{l.Handler, newRepetitions()}, l.outages, true}
}

// Handle counts warnings and errors that are about the database, and passes the rest on.
func (l outageLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		kind, text := outageOf(r)
		if kind == db.NoOutage && l.rivers {
			kind = l.outages.present()
		}
		if kind != db.NoOutage {
			l.outages.note(ctx, r.Message, kind, text)
			return nil
		}
		r = inOneLine(r, r.Message)
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs keeps the count.
func (l outageLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return outageLog{l.Handler.WithAttrs(attrs), l.outages, l.rivers}
}

// WithGroup keeps the count.
func (l outageLog) WithGroup(name string) slog.Handler {
	return outageLog{l.Handler.WithGroup(name), l.outages, l.rivers}
}

// outageOf finds the error of a log record that is about the database; River logs its
// errors as text.
func outageOf(r slog.Record) (kind db.Outage, text string) {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			kind, text = db.OutageOf(err), err.Error()
		} else if a.Key == "err" || a.Key == "error" {
			kind, text = db.OutageIn(a.Value.String()), a.Value.String()
		}
		return kind == db.NoOutage
	})
	return kind, text
}

// outages counts what failed since the database got into trouble.
type outages struct {
	log slog.Handler

	mu          sync.Mutex
	begun, last time.Time
	newest      db.Outage
	failures    map[db.Outage]int // nil: there is no trouble
	calm        *time.Timer
}

// note counts a failure; the first of each kind is told.
func (o *outages) note(ctx context.Context, doing string, kind db.Outage, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = time.Now()
	if o.failures == nil {
		o.begun, o.failures = o.last, map[db.Outage]int{}
		o.calm = time.AfterFunc(calmAfter, o.end)
	} else {
		o.calm.Reset(calmAfter)
	}
	o.newest = kind
	o.failures[kind]++
	if o.failures[kind] == 1 {
		slog.New(o.log).WarnContext(ctx, "the database is in trouble; klingwatch goes on by itself when that is over",
			"trouble", string(kind), "doing", doing, "error", outbound.Line(text))
	}
}

// present is the newest trouble, NoOutage where there is none.
func (o *outages) present() db.Outage {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failures == nil {
		return db.NoOutage
	}
	return o.newest
}

// end tells that the trouble is over, where nothing has failed for a while.
func (o *outages) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.last) < calmAfter || o.failures == nil {
		return // the timer was set again
	}
	var counts []string
	for _, kind := range slices.Sorted(maps.Keys(o.failures)) {
		counts = append(counts, fmt.Sprintf("%s: %d", kind, o.failures[kind]))
	}
	slog.New(o.log).Info("the database works again", "after", o.last.Sub(o.begun).Round(time.Millisecond).String(), "failures", strings.Join(counts, ", "))
	o.failures = nil
}

// forget ends the count without a word: the process stops.
func (o *outages) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failures != nil {
		o.calm.Stop()
		o.failures = nil
	}
}
