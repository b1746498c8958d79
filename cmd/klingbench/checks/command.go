package checks

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// Command compares quick runs with stored figures.
type Command struct {
	Store bool     `help:"Store the figures instead of comparing them; on a quiet machine."`
	File  string   `default:"cmd/klingbench/checks/ratios.json" placeholder:"FILE" help:"Of the stored figures; default: ${default}, seen from the root of the repository."`
	Only  []string `placeholder:"COMMAND,..." help:"Measure only these commands."`
}

// Measure runs a command of klingbench with arguments and returns what it measured.
type Measure func(args ...string) (figures.Document, error)

// tries is how often a command is measured at most: where a figure is worse than the
// stored one, the median of more runs counts.
const tries = 3

// Run measures, compares and prints; it returns an error where a figure is worse.
func (cmd Command) Run(c *figures.Console, measure Measure) error {
	wanted, err := cmd.wanted()
	if err != nil {
		return err
	}
	before, err := readStored(cmd.File)
	if err != nil {
		return err
	}
	progress := figures.NewProgress(c.Err)
	defer progress.End()
	table := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "command\tfigure\tstored\tnow\tchange")
	var slower []string
	for _, m := range wanted {
		d, now, err := cmd.measure(m, before.Figures[m.command], progress, measure)
		if err != nil {
			return err
		}
		m.printRows(table, before.Figures[m.command], now)
		for _, name := range m.worse(before.Figures[m.command], now) {
			slower = append(slower, m.command+" "+name)
		}
		before.take(d, now)
	}
	progress.End()
	if err := table.Flush(); err != nil {
		return err
	}
	if cmd.Store {
		return before.write(cmd.File)
	}
	if len(slower) > 0 {
		return fmt.Errorf("worse than stored by more than %g %%: %s; look for the reason, or store the new figures with --store", 100*tolerance, strings.Join(slower, ", "))
	}
	return nil
}

// wanted are the measurements to make.
func (cmd Command) wanted() ([]measurement, error) {
	var names []string
	for _, m := range watched {
		names = append(names, m.command)
	}
	for _, name := range cmd.Only {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("no figure of the command %q is stored: try %s", name, strings.Join(names, ", "))
		}
	}
	if len(cmd.Only) == 0 {
		return watched, nil
	}
	return slices.DeleteFunc(slices.Clone(watched), func(m measurement) bool { return !slices.Contains(cmd.Only, m.command) }), nil
}

// measure runs a command, and again where a figure is worse than before; what is to be
// stored is measured as often as it goes.
func (cmd Command) measure(m measurement, before map[string]float64, progress *figures.Progress, measure Measure) (d figures.Document, now map[string]float64, err error) {
	seen := values{}
	for try := range tries {
		progress.Sayf("%s, run %d", m.command, try+1)
		if d, err = measure(append([]string{m.command}, m.args...)...); err != nil {
			return d, nil, err
		}
		seen.add(d)
		if now = m.medians(seen); !cmd.Store && len(m.worse(before, now)) == 0 {
			break
		}
	}
	return d, now, nil
}

// printRows prints what is watched of a command.
func (m measurement) printRows(w io.Writer, before, now map[string]float64) {
	for _, f := range m.figures {
		change := "not stored yet"
		if was := before[f.name]; was != 0 {
			change = fmt.Sprintf("%+.0f %%", 100*(now[f.name]/was-1))
		}
		if f.judge(before[f.name], now[f.name]) == worse {
			change += "  worse"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.command, f.name, figures.Number(before[f.name]), figures.Number(now[f.name]), change)
	}
}
