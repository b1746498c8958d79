package main

import (
	"io"
	"log/slog"
	"time"

	"github.com/lmittmann/tint"
)

// newLog returns the logger of the settings: JSON, or text with colours on a
// terminal.
func (s settings) newLog(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // check has seen it
	tty := terminal(w)
	switch {
	case s.LogFormat == "json", s.LogFormat == "" && !tty:
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	case tty:
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
