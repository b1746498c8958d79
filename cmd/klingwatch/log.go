package main

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/lmittmann/tint"

	"github.com/klingwatch/klingwatch/outbound"
)

// newLog returns the logger of the settings: JSON, or text with colours on a
// terminal.
func (s settings) newLog(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // check has seen it
	tty := terminal(w)
	switch {
	case s.LogFormat == "json", s.LogFormat == "" && !tty:
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: cleanAttr}))
	case tty:
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, ReplaceAttr: cleanAttr}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: cleanAttr}))
}

// cleanAttr makes one safe line of every text and error in the log: ids, reasons
// and addresses come from outside.
func cleanAttr(_ []string, a slog.Attr) slog.Attr {
	switch value := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(outbound.Line(value))
	case error:
		a.Value = slog.AnyValue(errors.New(outbound.Line(value.Error())))
	}
	return a
}
