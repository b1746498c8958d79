package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/klingwatch/klingwatch/doctor"
	"github.com/klingwatch/klingwatch/embeddedpg"
	"github.com/klingwatch/klingwatch/worker"
)

type doctorCommand struct {
	JSON bool `help:"Print one JSON object per line."`
}

// Help says what the states mean.
func (doctorCommand) Help() string {
	return `One line per check: ok, warn (works, but look at it), bad (does not work), or skipped (another line says why it could not be checked).
The doctor changes nothing and may run beside the service. It asks the relay for its start page, without a key, and about tracked tasks, or one that does not exist.
Exit code 1 if something is bad.`
}

// Run prints a line per check.
func (cmd doctorCommand) Run(ctx context.Context, c *console) error {
	good := true
	report := func(f doctor.Finding) {
		good = good && f.State != doctor.Bad
		if cmd.JSON {
			_ = printJSON(c.out, f)
			return
		}
		c.printFinding(f)
	}
	s, err := loadSettings()
	if err != nil {
		report(doctor.Finding{Check: "settings", State: doctor.Bad, Found: err.Error(), Todo: "correct it; docs/settings.md lists the settings"})
		return quietError{}
	}
	report(doctor.Finding{Check: "settings", State: doctor.OK, Found: "can be used"})
	cfg, done := s.examination(c.notify)
	defer done()
	err = doctor.Examine(ctx, cfg, report)
	if err == nil && !good {
		err = quietError{}
	}
	return err
}

// examination is what the doctor needs to know of the settings.
func (s settings) examination(notify func(string)) (cfg doctor.Config, done func()) {
	cfg = doctor.Config{
		Database: func(ctx context.Context) (string, func() error, error) { return s.existingDatabase(ctx, notify) },
		BaseURL:  s.BaseURL, TaskPath: s.taskPath(), Keyring: s.keyring(),
		PollInterval: s.PollInterval, PollRate: s.PollRate, PollTimeout: s.PollTimeout, TaskDeadline: s.TaskDeadline,
		Limits: worker.Limits, ProcessConns: processConns, Version: version(), UserAgent: userAgent(),
	}
	if s.DatabaseURL == "" {
		cfg.DataDir, _ = s.dataDir() // existingDatabase says what is wrong with it
	}
	if cfg.Relay, cfg.RelayErr = s.relay(); cfg.RelayErr != nil {
		return cfg, func() {}
	}
	return cfg, cfg.Relay.Close
}

// startLimit bounds starting an embedded server to look at it.
const startLimit = 30 * time.Second

// existingDatabase returns the URL of the database, and a function that lets go
// of it. It makes none: an embedded server that does not run is started for the
// while, where its data are there.
func (s settings) existingDatabase(ctx context.Context, notify func(string)) (url string, release func() error, err error) {
	if s.DatabaseURL != "" {
		return s.DatabaseURL, func() error { return nil }, nil
	}
	dir, err := s.dataDir()
	if err != nil {
		return "", nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); errors.Is(err, os.ErrNotExist) {
		return "", nil, doctor.ErrNoDatabase
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	server, err := embeddedpg.Start(ctx, embeddedpg.Config{DataDir: dir, BinDir: s.PostgresBinDir, Notify: notify})
	if err != nil {
		return "", nil, err
	}
	return server.URL(), server.Close, nil
}

// stateStyles are the colours of the states.
var stateStyles = map[doctor.State]lipgloss.Style{
	doctor.OK: goodStyle, doctor.Warn: lipgloss.NewStyle().Foreground(lipgloss.Yellow), doctor.Bad: badStyle, doctor.Skipped: dimStyle,
}

func (c *console) printFinding(f doctor.Finding) {
	line := fmt.Sprintf("%s %-14s %s", stateStyles[f.State].Render(fmt.Sprintf("%-7s", f.State)), f.Check, clean(f.Found))
	if f.Todo != "" {
		line += " -> " + f.Todo
	}
	_, _ = lipgloss.Fprintln(c.out, line)
}
