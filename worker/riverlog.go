package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// repeatAfter is how long each of River's own messages is logged once: while
// the database is away it repeats them several times a second.
const repeatAfter = time.Minute

// riverLog passes River's own log on, from warnings upwards, each message once
// a while and as one line.
type riverLog struct {
	slog.Handler
	logged *sync.Map // message -> time.Time
}

// Enabled leaves out what only River's developers want to know.
func (l riverLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && l.Handler.Enabled(ctx, level)
}

// Handle drops repetitions.
func (l riverLog) Handle(ctx context.Context, r slog.Record) error {
	if last, ok := l.logged.Load(r.Message); ok && r.Time.Sub(last.(time.Time)) < repeatAfter {
		return nil
	}
	l.logged.Store(r.Message, r.Time)
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
	return riverLog{l.Handler.WithAttrs(attrs), l.logged}
}

// WithGroup keeps the filter.
func (l riverLog) WithGroup(name string) slog.Handler {
	return riverLog{l.Handler.WithGroup(name), l.logged}
}
