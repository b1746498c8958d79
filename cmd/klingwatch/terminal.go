package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/lmittmann/tint"
	"github.com/schollz/progressbar/v3"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/readable"
)

var (
	headStyle = lipgloss.NewStyle().Bold(true)
	goodStyle = lipgloss.NewStyle().Foreground(lipgloss.Green)
	badStyle  = lipgloss.NewStyle().Foreground(lipgloss.Red)
	dimStyle  = lipgloss.NewStyle().Faint(true)
)

// styleOf colours the words that people look for.
func styleOf(cell string) lipgloss.Style {
	switch cell {
	case db.Succeeded, db.DeliveryDelivered, db.ArchiveStored, "enabled", "ok":
		return goodStyle
	case db.Failed, db.NotFound, db.Expired, db.DeliveryExhausted, db.ArchiveLost, "disabled", "wrong":
		return badStyle
	case db.Canceled:
		return dimStyle
	}
	return lipgloss.NewStyle()
}

// clean makes a text that comes from outside safe to print: it cannot steer the
// terminal, nor show in another order than it is read.
func clean(text string) string { return outbound.Printable(text) }

// printTable prints aligned columns, coloured on a terminal.
func (c *console) printTable(headers []string, rows [][]string) {
	for _, row := range rows {
		for i := range row {
			row[i] = clean(row[i])
		}
	}
	if !terminal(c.out) {
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{headers}, rows...) {
			fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t"))
		}
		_ = w.Flush()
		return
	}
	t := table.New().Headers(headers...).Rows(rows...).Wrap(false).
		BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).BorderColumn(false).BorderHeader(false).
		StyleFunc(func(row, col int) lipgloss.Style {
			style := headStyle
			if row != table.HeaderRow {
				style = styleOf(rows[row][col])
			}
			return style.PaddingRight(2)
		})
	_, _ = lipgloss.Fprintln(c.out, t.Render())
}

// printJSON prints one object as one line.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// printLines prints one object per line.
func printLines[T any](w io.Writer, list []T) error {
	for _, v := range list {
		if err := printJSON(w, v); err != nil {
			return err
		}
	}
	return nil
}

// progress shows how far something is: a bar on a terminal, lines in a pipe.
type progress struct {
	w   io.Writer
	bar *progressbar.ProgressBar
}

// newProgress counts up to total.
func (c *console) newProgress(total int, what string) *progress {
	p := &progress{w: c.err}
	if terminal(c.err) {
		p.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(c.err), progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(), progressbar.OptionSetWidth(30), progressbar.OptionSetElapsedTime(true),
			progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(50*time.Millisecond),
			progressbar.OptionUseANSICodes(true), progressbar.OptionSetRenderBlankState(true))
	}
	return p
}

// set moves the bar.
func (p *progress) set(done int, what string) {
	if p.bar == nil {
		return
	}
	p.bar.Describe(what)
	_ = p.bar.Set(done)
}

// line prints a line that stays.
func (p *progress) line(format string, args ...any) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	_, _ = lipgloss.Fprintln(p.w, fmt.Sprintf(format, args...))
	if p.bar != nil {
		_ = p.bar.RenderBlank()
	}
}

// end removes the bar.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// confirm asks a person; where there is none, only yes goes on.
func (c *console) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !terminal(c.in) {
		return fmt.Errorf("nobody is here who could be asked: give --yes to %s", question)
	}
	fmt.Fprintf(c.err, "%s? [y/N] ", strings.ToUpper(question[:1])+question[1:])
	answers := make(chan string, 1)
	go func() { // a read that nothing ends but an answer
		answer, _ := bufio.NewReader(c.in).ReadString('\n')
		answers <- strings.ToLower(strings.TrimSpace(answer))
	}()
	select {
	case answer := <-answers:
		if answer == "y" || answer == "yes" {
			return nil
		}
		return errors.New("nothing was done")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ago tells the distance of a time for people: 3s, 5m, 2h, 4d.
func ago(t time.Time) string { return readable.Duration(time.Since(t)) }

// cut shortens a text for a table cell.
func cut(text string, runes int) string {
	r := []rune(text)
	if len(r) <= runes {
		return text
	}
	return string(r[:runes-1]) + "…"
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

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
