package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// redact makes one line of a text for logs and traces, without the queries of URLs.
func redact(text string) string { return outbound.Line(outbound.Redact(text)) }

// oneLine makes one line of an error, as several that are joined have many.
func oneLine(err error) string { return outbound.Line(err.Error()) }

// maxWords bounds the memory for words that come from outside.
const maxWords = 100

// wordLog remembers which unknown status words were told already.
type wordLog struct {
	mu   sync.Mutex
	told map[string]bool
}

// isNew tells whether a word should be told: once, and only so many of them.
func (l *wordLog) isNew(word string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told[word] || len(l.told) >= maxWords {
		return false
	}
	if l.told == nil {
		l.told = map[string]bool{}
	}
	l.told[word] = true
	return true
}

// repeatAfter is how long River's own messages of one kind are told once: while
// the database is away it repeats them several times a second.
const repeatAfter = time.Minute

// riverLog passes River's own log on, from warnings upwards, each message once
// a while and as one line.
type riverLog struct {
	slog.Handler
	told *sync.Map // message -> time.Time
}

// Enabled leaves out what only River's developers want to know.
func (l riverLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && l.Handler.Enabled(ctx, level)
}

// Handle drops repetitions.
func (l riverLog) Handle(ctx context.Context, r slog.Record) error {
	if last, ok := l.told.Load(r.Message); ok && r.Time.Sub(last.(time.Time)) < repeatAfter {
		return nil
	}
	l.told.Store(r.Message, r.Time)
	line := slog.NewRecord(r.Time, r.Level, "River: "+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Value.Kind() == slog.KindString || a.Key == "err" || a.Key == "error" {
			a.Value = slog.StringValue(outbound.Line(a.Value.String()))
		}
		line.AddAttrs(a)
		return true
	})
	return l.Handler.Handle(ctx, line)
}

// WithAttrs keeps the filter.
func (l riverLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return riverLog{l.Handler.WithAttrs(attrs), l.told}
}

// WithGroup keeps the filter.
func (l riverLog) WithGroup(name string) slog.Handler {
	return riverLog{l.Handler.WithGroup(name), l.told}
}
