package figures

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// Output is how a command shows its figures; the flags are common to all
// commands.
type Output struct {
	JSON  bool `name:"json" help:"Print all figures as one JSON document on stdout; the table goes to stderr."`
	Quick bool `help:"Small and short, to see that it works: too small to be compared with the targets."`
}

// Document is everything about one run of klingbench.
type Document struct {
	Program  string            `json:"program"`
	Command  string            `json:"command"`
	Date     time.Time         `json:"date"`
	Seconds  float64           `json:"seconds"` // how long it took
	Quick    bool              `json:"quick"`   // too small to be compared with the targets
	Commit   string            `json:"commit,omitempty"`
	Machine  Machine           `json:"machine"`
	Postgres map[string]string `json:"postgres_settings,omitempty"`
	Figures  []Figure          `json:"figures"`
}

// NewDocument describes a measurement that began at a time and has just ended.
func NewDocument(ctx context.Context, o Output, command string, begun time.Time, figures []Figure) Document {
	return Document{
		Program: "klingbench", Command: command, Date: begun.UTC().Truncate(time.Second),
		Seconds: time.Since(begun).Round(time.Second).Seconds(), Quick: o.Quick, Commit: commit(ctx),
		Machine: describeMachine(), Figures: figures,
	}
}

// Print writes the table, and the document as JSON if that was asked for.
func (c *Console) Print(o Output, d Document) error {
	to := c.Out
	if o.JSON {
		to = c.Err
	}
	d.printTable(to)
	if !o.JSON {
		return nil
	}
	return d.printJSON(c.Out)
}

func (d Document) printJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(d)
}
