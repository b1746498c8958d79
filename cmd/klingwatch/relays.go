package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/relays"
)

type relaysCommand struct {
	Add      relaysAdd      `cmd:"" help:"Add a relay; the services ask it within seconds."`
	List     relaysList     `cmd:"" may:"klingwatch_reader or klingwatch_operator" help:"List the relays, with their pauses and open tasks."`
	Edit     relaysEdit     `cmd:"" help:"Change a relay; the services follow within seconds."`
	Check    relaysCheck    `cmd:"" help:"Ask a relay with its key, and say what is wrong."`
	Callback relaysCallback `cmd:"" help:"Show, make or revoke the address that a relay may call when a task changes."`
	Remove   relaysRemove   `cmd:"" help:"Remove a relay whose tasks have all ended."`
}

// relayKeyFlags say where the key of a relay is.
type relayKeyFlags struct {
	KeyFile       string `help:"File with the bearer key, on the machines of the services; read again when it changes." placeholder:"PATH"`
	KeyStdin      bool   `help:"Read the bearer key from standard input and store it encrypted; KLINGWATCH_ENCRYPTION_KEY is required."`
	AccessKey     string `help:"Access key of Kling's own JWT authentication." placeholder:"KEY"`
	SecretKeyFile string `help:"File with the secret key that belongs to --access-key, on the machines of the services." placeholder:"PATH"`
}

// keyFlags are the flags of the words for a relay's key.
var keyFlags = strings.NewReplacer("secret_key_file", "--secret-key-file", "key_file", "--key-file", "access_key", "--access-key", "the key itself", "--key-stdin")

// inFlags speaks of flags where an answer speaks of the input as a whole.
func inFlags(err error) error {
	refused, ok := errors.AsType[*operate.Error](err)
	if !ok || refused.Field != "" {
		return err
	}
	named := *refused
	named.Message = keyFlags.Replace(named.Message)
	return &named
}

// maxKey is far longer than any key, in bytes.
const maxKey = 16 << 10

// key reads the key where it comes from standard input.
func (f relayKeyFlags) key(ctx context.Context, c *console) (operate.RelayKey, error) {
	k := operate.RelayKey{File: f.KeyFile, AccessKey: f.AccessKey, SecretKeyFile: f.SecretKeyFile}
	if !f.KeyStdin {
		return k, nil
	}
	var err error
	k.Key, err = readInput(ctx, c, "key")
	return k, err
}

// readInput reads a key, or the like, from standard input.
func readInput(ctx context.Context, c *console, what string) (string, error) {
	if terminal(c.in) {
		fmt.Fprintf(c.err, "paste the %s, then press Enter and Ctrl-D\n", what)
	}
	text, err := readText(ctx, c.in)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", fmt.Errorf("reading the %s from standard input: %w", what, err)
	case len(text) > maxKey:
		return "", fmt.Errorf("standard input has more than %d bytes: that is no %s", maxKey, what)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", fmt.Errorf("there is no %s on standard input", what)
	}
	return text, nil
}

// readText reads a text, up to a little more than maxKey, until the end of r or of ctx:
// then it leaves a read behind that nothing could end.
func readText(ctx context.Context, r io.Reader) (string, error) {
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := io.ReadAll(io.LimitReader(r, maxKey+1))
		done <- result{text, err}
	}()
	select {
	case read := <-done:
		return string(read.text), read.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

type relaysAdd struct {
	Name           string         `arg:"" help:"Name, as tasks.relay has it: lower-case letters, digits, ., _ and -."`
	URL            string         `arg:"" help:"Scheme and host, like https://relay.example."`
	TaskPath       string         `help:"Template of the path of a task: {action}, {action2} and {task_id}, or {task_ids} where the relay takes several ids at once; default: /kling/v1/{action}/{action2}/{task_id}." placeholder:"PATH"`
	BatchSize      *int           `help:"Most ids in one request, where the path has {task_ids}; default: 20." placeholder:"N"`
	PollRate       *float64       `help:"Most requests per second, of all services; default: 50." placeholder:"N"`
	OutputLifetime *time.Duration `help:"How long the relay keeps files; default: 720h." placeholder:"DURATION"`
	Archive        onOff          `help:"Whether the files of its tasks are kept: on, off or default, which is as KLINGWATCH_ARCHIVE says." placeholder:"on|off|default"`
	relayKeyFlags  `embed:""`
}

// Run adds a relay.
func (r relaysAdd) Run(ctx context.Context, c *console) error {
	if isZero(r.BatchSize) || isZero(r.PollRate) || isZero(r.OutputLifetime) { // it stands for what is usual
		return errors.New("--batch-size, --poll-rate and --output-lifetime must be more than 0")
	}
	key, err := r.key(ctx, c)
	if err != nil {
		return err
	}
	return withDatabase(ctx, c, func(s settings, d *database) error {
		err := operate.AddRelay(ctx, d.Pool, s.keyring(), operate.NewRelay{
			Name: r.Name, BaseURL: r.URL, TaskPath: r.TaskPath, BatchSize: deref(r.BatchSize), PollRate: deref(r.PollRate), OutputLifetime: deref(r.OutputLifetime),
			Archive: deref(r.Archive.chosen), Key: key,
		})
		if err != nil {
			return inFlags(err)
		}
		fmt.Fprintf(c.out, "relay %s is added\ntry it: klingwatch relays check %s\n", r.Name, r.Name)
		return c.hintIdle(ctx, d)
	})
}

// onOff is a choice that may be left to the deployment.
type onOff struct {
	chosen **bool // nil: nothing was said; nil inside: default
}

var onOffWords = map[string]*bool{"on": new(true), "off": new(false), "default": nil}

// UnmarshalText reads one of the words.
func (o *onOff) UnmarshalText(text []byte) error {
	chosen, known := onOffWords[string(text)]
	if !known {
		return fmt.Errorf("%q is not on, off or default", text)
	}
	o.chosen = &chosen
	return nil
}

// String is the word for what was chosen.
func (o onOff) String() string {
	switch chosen := deref(o.chosen); {
	case chosen == nil:
		return "default"
	case *chosen:
		return "on"
	}
	return "off"
}

func isZero[T comparable](given *T) bool {
	var zero T
	return given != nil && *given == zero
}

type relaysList struct {
	JSON bool `help:"Print one JSON object per line."`
}

// Run lists the relays.
func (r relaysList) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		states, err := db.RelayStates(ctx, d.Pool)
		if err != nil {
			return fmt.Errorf("reading the relays: %w", err)
		}
		if r.JSON {
			return printLines(c.out, states)
		}
		rows := make([][]string, len(states))
		for i, s := range states {
			state, why := "asked", ""
			switch {
			case s.PausedAt != nil:
				state, why = "paused", fmt.Sprintf("for %s: %s", ago(*s.PausedAt), clean(cut(deref(s.PauseReason), 60)))
			case s.Credential == nil:
				state, why = "new", "no service has asked it yet"
			}
			rows[i] = []string{
				s.Name, state, strconv.Itoa(s.OpenTasks), strconv.Itoa(s.InTrouble), strconv.FormatFloat(s.PollRate, 'g', -1, 64),
				strconv.Itoa(s.BatchSize), onOff{&s.Archive}.String(), s.BaseURL + s.TaskPath, deref(s.Credential), why,
			}
		}
		c.printTable([]string{"NAME", "STATE", "OPEN", "TROUBLE", "RATE", "BATCH", "ARCHIVE", "ADDRESS", "KEY", "WHY"}, rows)
		return nil
	})
}

type relaysEdit struct {
	Name           string         `arg:"" help:"Name of the relay."`
	URL            *string        `help:"Scheme and host." placeholder:"URL"`
	TaskPath       *string        `help:"Template of the path of a task." placeholder:"PATH"`
	BatchSize      *int           `help:"Most ids in one request." placeholder:"N"`
	PollRate       *float64       `help:"Most requests per second, of all services." placeholder:"N"`
	OutputLifetime *time.Duration `help:"How long the relay keeps files." placeholder:"DURATION"`
	Archive        onOff          `help:"Whether the files of its tasks are kept: on, off or default, which is as KLINGWATCH_ARCHIVE says." placeholder:"on|off|default"`
	relayKeyFlags  `embed:""`
}

// Run changes a relay.
func (r relaysEdit) Run(ctx context.Context, c *console) error {
	key, err := r.key(ctx, c)
	if err != nil {
		return err
	}
	return withDatabase(ctx, c, func(s settings, d *database) error {
		err := operate.EditRelay(ctx, d.Pool, s.keyring(), r.Name, operate.RelayEdit{
			BaseURL: r.URL, TaskPath: r.TaskPath, BatchSize: r.BatchSize, PollRate: r.PollRate, OutputLifetime: r.OutputLifetime,
			Archive: r.Archive.chosen, Key: key,
		})
		if err != nil {
			return inFlags(err)
		}
		fmt.Fprintf(c.out, "relay %s is changed\n", r.Name)
		return nil
	})
}

type relaysCheck struct {
	Name string `arg:"" optional:"" help:"Name of the relay." default:"default"`
}

// checkLimit bounds a check, which may ask several paths.
const checkLimit = 30 * time.Second

// Run asks from here, as the service would.
func (r relaysCheck) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(s settings, d *database) error {
		own, ownErr := s.relay()
		if ownErr == nil {
			defer own.Close()
		}
		limited, cancel := context.WithTimeout(ctx, checkLimit)
		defer cancel()
		v, err := operate.CheckRelay(limited, d.Pool, r.Name, own, relays.Options{Keyring: s.keyring(), Timeout: s.PollTimeout, UserAgent: userAgent()})
		switch {
		case err != nil && ctx.Err() == nil && limited.Err() != nil:
			return fmt.Errorf("relay %s: no answer within %s", r.Name, checkLimit)
		case err != nil && own == nil && r.Name == db.DefaultRelay:
			return fmt.Errorf("%w: %w", err, ownErr)
		case err != nil:
			return err
		}
		fmt.Fprintf(c.out, "relay %s: %s\n", r.Name, outbound.Line(v.String()))
		if advice := v.Advice(); advice != "" {
			fmt.Fprintln(c.out, advice)
			return quietError{}
		}
		return nil
	})
}

type relaysCallback struct {
	Name       string `arg:"" optional:"" help:"Name of the relay." default:"default"`
	Rotate     bool   `help:"Make another address; the one before works for a day more, for tasks on their way." xor:"token"`
	Revoke     bool   `help:"Let no address of the relay work any more." xor:"token"`
	SecretFile string `help:"File on this machine with the secret with which Kling signs, or - for standard input; it is stored encrypted." placeholder:"PATH" xor:"secret"`
	NoSecret   bool   `help:"Verify no signatures." xor:"secret"`
}

// Run changes what is asked for, and shows how the relay may call.
func (r relaysCallback) Run(ctx context.Context, c *console) error {
	secret, err := r.secret(ctx, c)
	if err != nil {
		return err
	}
	return withDatabase(ctx, c, func(s settings, d *database) error {
		before, err := operate.GetCallback(ctx, d.Pool, r.Name)
		if err != nil {
			return err
		}
		if secret != "" || r.NoSecret {
			if err := operate.SetCallbackSecret(ctx, d.Pool, s.keyring(), r.Name, secret); err != nil {
				return err
			}
		}
		if r.Revoke {
			if err := operate.RevokeCallbackTokens(ctx, d.Pool, r.Name); err != nil {
				return err
			}
		} else if r.Rotate || before.TokenHash == nil && !r.NoSecret {
			token, err := operate.MakeCallbackToken(ctx, d.Pool, r.Name)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.out, "%s\nput scheme and host of the service before it and give that as callback_url when you create a task; it is shown only now\n", operate.CallbackPath(r.Name, token))
		}
		now, err := operate.GetCallback(ctx, d.Pool, r.Name)
		if err != nil {
			return err
		}
		fmt.Fprintln(c.out, describeCallback(now))
		return nil
	})
}

// secret reads the secret where one is given.
func (r relaysCallback) secret(ctx context.Context, c *console) (string, error) {
	switch r.SecretFile {
	case "":
		return "", nil
	case "-":
		return readInput(ctx, c, "secret")
	}
	text, err := os.ReadFile(r.SecretFile)
	if err != nil {
		return "", fmt.Errorf("reading the secret: %w", err)
	}
	if len(text) > maxKey || strings.TrimSpace(string(text)) == "" {
		return "", fmt.Errorf("the file %s holds no secret", r.SecretFile)
	}
	return strings.TrimSpace(string(text)), nil
}

// describeCallback says how a relay may call.
func describeCallback(cb db.RelayCallback) string {
	if cb.TokenHash == nil {
		return fmt.Sprintf("relay %s: callbacks are off", cb.Relay)
	}
	text := fmt.Sprintf("relay %s: address made %s ago", cb.Relay, ago(*cb.MadeAt))
	if cb.OldUntil != nil {
		text += ", the one before works until " + cb.OldUntil.Format(time.RFC3339)
	}
	if cb.SigningSecret == nil {
		return text + "; signatures are not verified"
	}
	return text + "; signatures are verified"
}

type relaysRemove struct {
	Name string `arg:"" help:"Name of the relay."`
}

// Run removes a relay.
func (r relaysRemove) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := operate.RemoveRelay(ctx, d.Pool, r.Name); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "relay %s is removed; its tasks stay\n", r.Name)
		return nil
	})
}
