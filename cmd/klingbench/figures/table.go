package figures

import (
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

var headers = []string{"measure", "value", "target", "", "runs"}

// printTable writes what is measured, where, and a row per figure: in colours on
// a terminal, in plain columns elsewhere.
func (d Document) printTable(w io.Writer) {
	fmt.Fprintln(w, d.title())
	if d.Quick {
		fmt.Fprintln(w, "quick: too small to be compared with the targets")
	}
	fmt.Fprintln(w)
	rows := make([][]string, len(d.Figures))
	for i, f := range d.Figures {
		rows[i] = f.row()
	}
	if terminal(w) {
		printColoured(w, rows)
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{headers}, rows...) {
		fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	_ = t.Flush()
}

func (d Document) title() string {
	m := d.Machine
	parts := []string{"klingbench " + d.Command, d.Date.Format(time.DateOnly), fmt.Sprintf("%d cores %s", m.Cores, m.CPU), m.Go}
	if m.Postgres != "" {
		parts = append(parts, "Postgres "+m.Postgres)
	}
	if d.Commit != "" {
		parts = append(parts, d.Commit)
	}
	return strings.Join(parts, ", ")
}

var (
	headStyle = lipgloss.NewStyle().Bold(true)
	goodStyle = lipgloss.NewStyle().Foreground(lipgloss.Green)
	badStyle  = lipgloss.NewStyle().Foreground(lipgloss.Red)
)

func printColoured(w io.Writer, rows [][]string) {
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

// row has a cell per header.
func (f Figure) row() []string {
	row := []string{f.Label, Number(f.Value) + unit(f.Unit), "", "", ""}
	if f.Target != nil {
		row[2] = f.Target.Relation + " " + Number(f.Target.Value) + unit(f.Unit)
	}
	if f.Reached != nil {
		row[3] = missedWord
		if *f.Reached {
			row[3] = reachedWord
		}
	}
	var runs []string
	for _, v := range f.Runs {
		runs = append(runs, Number(v))
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

// Number formats a value with three digits, and whole numbers in full.
func Number(v float64) string {
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
