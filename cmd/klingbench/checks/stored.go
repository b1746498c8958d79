package checks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// stored are the figures that others are compared with.
type stored struct {
	Date    string                        `json:"date"`
	Commit  string                        `json:"commit,omitempty"`
	Machine figures.Machine               `json:"machine"`
	Figures map[string]map[string]float64 `json:"figures"` // by command and name
}

// readStored reads a file; one that is not there holds no figures.
func readStored(file string) (s stored, err error) {
	s.Figures = map[string]map[string]float64{}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading the stored figures %s: %w", file, err)
	}
	return s, nil
}

// take makes the figures of a command those that were measured now.
func (s *stored) take(d figures.Document, now map[string]float64) {
	s.Date, s.Commit, s.Machine = d.Date.Format("2006-01-02"), d.Commit, d.Machine
	kept := map[string]float64{}
	for name, value := range now {
		kept[name] = short(value)
	}
	s.Figures[d.Command] = kept
}

// short rounds a value to four digits, so that the file is easy to read.
func short(v float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil || math.IsInf(rounded, 0) {
		return 0
	}
	return rounded
}

// write replaces the file.
func (s stored) write(file string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	return nil
}
