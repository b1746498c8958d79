package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
)

// document is everything about one call of klingbench.
type document struct {
	Program  string            `json:"program"`
	Command  string            `json:"command"`
	Date     time.Time         `json:"date"`
	Seconds  float64           `json:"seconds"` // how long it took
	Quick    bool              `json:"quick"`   // too small to be compared with the targets
	Commit   string            `json:"commit,omitempty"`
	Machine  machine           `json:"machine"`
	Postgres map[string]string `json:"postgres_settings,omitempty"`
	Figures  []figure          `json:"figures"`
}

// newDocument tells of a measurement that has just ended.
func newDocument(ctx context.Context, o output, command string, begun time.Time, figures []figure) document {
	return document{
		Program: "klingbench", Command: command, Date: begun.UTC().Truncate(time.Second),
		Seconds: time.Since(begun).Round(time.Second).Seconds(), Quick: o.Quick, Commit: commit(ctx),
		Machine: describeMachine(), Figures: figures,
	}
}

var (
	headStyle = lipgloss.NewStyle().Bold(true)
	goodStyle = lipgloss.NewStyle().Foreground(lipgloss.Green)
	badStyle  = lipgloss.NewStyle().Foreground(lipgloss.Red)
)

// print writes the table, and the document if it was asked for.
func (c *console) print(o output, d document) error {
	to := c.out
	if o.JSON {
		to = c.err
	}
	d.printTable(to)
	if !o.JSON {
		return nil
	}
	encoder := json.NewEncoder(c.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(d)
}

func (d document) printTable(w io.Writer) {
	m := d.Machine
	head := []string{"klingbench " + d.Command, d.Date.Format(time.DateOnly), fmt.Sprintf("%d cores %s", m.Cores, m.CPU), m.Go}
	if m.Postgres != "" {
		head = append(head, "Postgres "+m.Postgres)
	}
	if d.Commit != "" {
		head = append(head, d.Commit)
	}
	fmt.Fprintln(w, strings.Join(head, ", "))
	if d.Quick {
		fmt.Fprintln(w, "quick: too small to be compared with the targets")
	}
	fmt.Fprintln(w)
	headers := []string{"measure", "value", "target", "", "runs"}
	rows := make([][]string, len(d.Figures))
	for i, f := range d.Figures {
		rows[i] = f.row()
	}
	if !terminal(w) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{headers}, rows...) {
			fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t"))
		}
		_ = t.Flush()
		return
	}
	t := table.New().Headers(headers...).Rows(rows...).Wrap(false).
		BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).BorderColumn(false).BorderHeader(false).
		StyleFunc(func(row, col int) lipgloss.Style {
			return styleOf(rows, row, col).PaddingRight(2)
		})
	_, _ = lipgloss.Fprintln(w, t.Render())
}

func styleOf(rows [][]string, row, col int) lipgloss.Style {
	switch {
	case row == table.HeaderRow:
		return headStyle
	case rows[row][col] == reachedWord:
		return goodStyle
	case rows[row][col] == missedWord:
		return badStyle
	}
	return lipgloss.NewStyle()
}

const (
	reachedWord = "reached"
	missedWord  = "missed"
)

func (f figure) row() []string {
	row := []string{f.Label, number(f.Value) + unit(f.Unit), "", "", ""}
	if f.Target != nil {
		row[2] = f.Target.Relation + " " + number(f.Target.Value) + unit(f.Unit)
	}
	if f.Reached != nil {
		row[3] = missedWord
		if *f.Reached {
			row[3] = reachedWord
		}
	}
	var runs []string
	for _, v := range f.Runs {
		runs = append(runs, number(v))
	}
	row[4] = strings.Join(runs, " ")
	return row
}

func unit(u string) string {
	if u == "" {
		return ""
	}
	return " " + u
}

// number shows three digits, and whole numbers whole.
func number(v float64) string {
	digits := 0
	if size := math.Abs(v); v != 0 && size < 100 {
		digits = 2 - int(math.Floor(math.Log10(size)))
	}
	text := strconv.FormatFloat(v, 'f', min(digits, 6), 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
