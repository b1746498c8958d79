package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/klingwatch/klingwatch/doctor"
	"github.com/klingwatch/klingwatch/worker"
	"github.com/klingwatch/klingwatch/worker/fetch"
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
	cfg, done := s.examination(ctx)
	defer done()
	err = doctor.Examine(ctx, cfg, report)
	if err == nil && !good {
		err = quietError{}
	}
	return err
}

// examination is what the doctor needs to know of the settings.
func (s settings) examination(ctx context.Context) (cfg doctor.Config, done func()) {
	cfg = doctor.Config{
		Database: func(ctx context.Context) (string, error) {
			url, err := s.findDatabase(ctx, func(string) {})
			if errors.Is(err, errNoDatabase) {
				err = doctor.ErrNoDatabase
			}
			return url, err
		},
		BaseURL: s.BaseURL, TaskPath: s.taskPath(), Keyring: s.keyring(),
		PollInterval: s.PollInterval, PollRate: s.PollRate, PollTimeout: s.PollTimeout, TaskDeadline: s.TaskDeadline,
		Limits: worker.Limits, ProcessConns: processConns, Version: version(), UserAgent: userAgent(),
	}
	if s.DatabaseURL == "" {
		cfg.DataDir, _ = s.dataDir() // findDatabase says what is wrong with it
	}
	if cfg.Store, cfg.StoreErr = s.store(); cfg.Store != nil {
		cfg.FilmTools = fetch.FindTools(ctx).FFmpeg.Version
	}
	if cfg.Relay, cfg.RelayErr = s.relay(); cfg.RelayErr != nil {
		return cfg, func() {}
	}
	return cfg, cfg.Relay.Close
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

type healthcheckCommand struct {
	URL string `help:"Base URL of the service; default: from KLINGWATCH_LISTEN_ADDR." placeholder:"URL"`
}

// healthcheckTimeout is below the 5 s that container engines usually grant.
const healthcheckTimeout = 4 * time.Second

func (h healthcheckCommand) Run(ctx context.Context, c *console) error {
	base := h.URL
	if base == "" {
		s, err := loadSettings()
		if err != nil {
			return err
		}
		if base, err = localURL(s.ListenAddr); err != nil {
			return err
		}
	}
	asking, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(asking, http.MethodGet, strings.TrimRight(base, "/")+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("%q is not a URL like http://127.0.0.1:8080", base)
	}
	res, err := http.DefaultClient.Do(req)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("no answer from %s: is klingwatch serve running there?", base)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	fmt.Fprint(c.out, string(body))
	if res.StatusCode != http.StatusOK {
		return errors.New("not ready")
	}
	return nil
}

// localURL is where this machine reaches a listen address.
func localURL(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("KLINGWATCH_LISTEN_ADDR: %q is not host:port", addr)
	}
	if port == "0" {
		return "", errors.New("KLINGWATCH_LISTEN_ADDR picks a free port: give --url")
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
