package checks

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

func TestAFigureIsWorseInItsOwnDirection(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		better      direction
		stored, now float64
		want        verdict
	}{
		{lower, 100, 114, fine}, {lower, 100, 116, worse}, {lower, 100, 10, fine},
		{higher, 100, 86, fine}, {higher, 100, 84, worse}, {higher, 100, 1000, fine},
		{lower, 0, 5, unstored}, {higher, 0, 5, unstored},
	} {
		if got := (figure{"any", test.better}).judge(test.stored, test.now); got != test.want {
			t.Errorf("direction %d, stored %v, now %v: %v, want %v", test.better, test.stored, test.now, got, test.want)
		}
	}
}

// late returns a stand-in for the command late that has one peak after the other.
func late(peaks ...float64) (measure Measure, runs *int) {
	runs = new(int)
	return func(args ...string) (d figures.Document, err error) {
		if args[0] != "late" || *runs == len(peaks) {
			return d, errors.New("nobody asked for that")
		}
		d.Command, d.Figures = "late", []figures.Figure{{Name: "peak_per_second", Value: peaks[*runs]}}
		*runs++
		return d, nil
	}, runs
}

func TestWhatIsWorseIsMeasuredAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ratios.json")
	for _, step := range []struct {
		about string
		store bool
		peaks []float64
		want  string // in the error; "": there is none
	}{
		{"nothing is stored", false, []float64{7}, ""},
		{"the median of three runs is stored", true, []float64{90, 100, 500}, ""},
		{"as stored", false, []float64{105}, ""},
		{"one run is unlucky", false, []float64{200, 101, 99}, ""},
		{"all are worse", false, []float64{120, 110, 130}, "worse than stored by more than 15 %: late peak_per_second"},
	} {
		measure, runs := late(step.peaks...)
		var out bytes.Buffer
		err := Command{Store: step.store, File: file, Only: []string{"late"}}.Run(&figures.Console{Out: &out, Err: &out}, measure)
		if (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
			t.Errorf("%s: %v\n%s", step.about, err, &out)
		}
		if *runs != len(step.peaks) {
			t.Errorf("%s: measured %d times, want %d", step.about, *runs, len(step.peaks))
		}
	}
}

func TestEveryWatchedFigureIsStored(t *testing.T) {
	t.Parallel()
	s, err := readStored("ratios.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range watched {
		for _, f := range m.figures {
			if s.Figures[m.command][f.name] <= 0 {
				t.Errorf("%s %s is not stored", m.command, f.name)
			}
		}
		if len(s.Figures[m.command]) != len(m.figures) {
			t.Errorf("%s has stored figures that nobody watches", m.command)
		}
	}
}

func TestOnlyWatchedCommandsAreMeasured(t *testing.T) {
	t.Parallel()
	wanted, err := Command{Only: []string{"late"}}.wanted()
	if err != nil || len(wanted) != 1 || wanted[0].command != "late" {
		t.Errorf("%v, %v", wanted, err)
	}
	if _, err := (Command{Only: []string{"chaos"}}).wanted(); err == nil || !strings.Contains(err.Error(), "try poll, late") {
		t.Errorf("%v", err)
	}
	if len(watched) < 3 || slices.ContainsFunc(watched, func(m measurement) bool { return len(m.figures) == 0 }) {
		t.Error("the command line above changed the list")
	}
}
