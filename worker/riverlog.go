package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// repeatAfter is how long each of River's own messages, and each kind of failure of jobs,
// is logged once: while the database is away River repeats them several times a second.
const repeatAfter = time.Minute

// riverLog passes River's own log on, from warnings upwards, each message once
// a while and as one line.
type riverLog struct {
	slog.Handler
	logged *repetitions // by message
}

// Enabled leaves out what only River's developers want to know.
func (l riverLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && l.Handler.Enabled(ctx, level)
}

// Handle drops repetitions.
func (l riverLog) Handle(ctx context.Context, r slog.Record) error {
	if _, tell := l.logged.note(r.Message, r.Time); !tell {
		return nil
	}
	return l.Handler.Handle(ctx, inOneLine(r, "River: "+r.Message))
}

// WithAttrs keeps the filter.
func (l riverLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return riverLog{l.Handler.WithAttrs(attrs), l.logged}
}

// WithGroup keeps the filter.
func (l riverLog) WithGroup(name string) slog.Handler {
	return riverLog{l.Handler.WithGroup(name), l.logged}
}

// inOneLine returns a record with another message, and without line breaks in its texts
// and errors.
func inOneLine(r slog.Record, message string) slog.Record {
	line := slog.NewRecord(r.Time, r.Level, message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if _, isError := a.Value.Any().(error); isError || a.Value.Kind() == slog.KindString || a.Key == "err" || a.Key == "error" {
			a.Value = slog.StringValue(outbound.Line(a.Value.String()))
		}
		line.AddAttrs(a)
		return true
	})
	return line
}

// repetitions lets something that happens again and again be told once in repeatAfter.
type repetitions struct {
	mu   sync.Mutex
	told map[any]*repetition // by what it has in common with others
}

// repetition says when something was told, and how often it has happened since.
type repetition struct {
	at   time.Time
	more int
}

func newRepetitions() *repetitions { return &repetitions{told: map[any]*repetition{}} }

// note reports whether something is to be told, and how often it was not since it was told
// last.
func (r *repetitions) note(what any, now time.Time) (others int, tell bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.told[what]
	if last != nil && now.Sub(last.at) < repeatAfter {
		last.more++
		return 0, false
	}
	if last != nil {
		others = last.more
	}
	r.told[what] = &repetition{at: now}
	return others, true
}
