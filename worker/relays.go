package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/relays"
	"github.com/klingwatch/klingwatch/worker/poll"
)

// relayBook holds what this process knows of the rows of relays: the clients that it
// opened for them, and which of them it cannot ask. It outlives a lost database.
type relayBook struct {
	cfg    Config
	taken  string             // the credential with which the row default was made to say what our settings do; "": not yet
	opened map[string]opened  // by name
	closed map[string]closure // relays that cannot be asked here; by name
	queues []string           // of the tasks of those that can

	deserted time.Time // since when no process asks what the row default says; zero: one does
}

// opened is a client for a version of a row.
type opened struct {
	version int
	client  *klingapi.Client
	noted   string // its credential, as the row has it
}

// closure is why a relay cannot be asked here, and since when.
type closure struct {
	why    string
	since  time.Time
	logged bool
}

// closureTold is how long a relay cannot be asked until that is logged: while a key is
// rotated, processes see it a second apart.
const closureTold = 5 * time.Second

func newRelayBook(cfg Config) *relayBook {
	return &relayBook{cfg: cfg, opened: map[string]opened{}, closed: map[string]closure{}}
}

// refresh reads the rows and makes the relays of this process like them. The row
// default is made to say what the settings do when the process starts, and when their
// key changes.
func (b *relayBook) refresh(ctx context.Context, asked *poll.Relays) error {
	if b.taken != b.cfg.Relay.Credential() {
		if err := b.takeDefault(ctx); err != nil {
			return fmt.Errorf("taking over the relay default: %w", err)
		}
	}
	rows, err := db.Relays(ctx, b.cfg.Pool)
	if err != nil {
		return fmt.Errorf("reading the relays: %w", err)
	}
	specs := make([]poll.Spec, len(rows))
	names := map[string]bool{}
	b.queues = nil
	for i, row := range rows {
		specs[i] = b.spec(ctx, row)
		names[row.Name] = true
		if specs[i].Client != nil {
			b.queues = append(b.queues, queuesOf(row)...)
		}
	}
	asked.Set(specs)
	for i, row := range rows {
		if row.Name == db.DefaultRelay && specs[i].Client == nil {
			if err := b.noteDeserted(ctx, row, time.Now()); err != nil {
				return err
			}
		}
	}
	for _, gone := range slices.Collect(maps.Keys(b.opened)) {
		if !names[gone] {
			b.opened[gone].client.Close()
			delete(b.opened, gone)
		}
	}
	maps.DeleteFunc(b.closed, func(name string, _ closure) bool { return !names[name] })
	b.logClosures(specs, time.Now())
	if !names[db.DefaultRelay] {
		b.taken = "" // somebody removed the row: it is made again
	}
	return nil
}

// own is the row default as the settings of this process say.
func (b *relayBook) own() db.Relay {
	credential := b.cfg.Relay.Credential()
	return db.Relay{Name: db.DefaultRelay, BaseURL: b.cfg.Relay.BaseURL(), TaskPath: b.cfg.Relay.TaskPath(), PollRate: b.cfg.PollRate, Credential: &credential}
}

// takeDefault makes the row default say what our settings do. Processes with other
// settings see it, and ask there no more.
func (b *relayBook) takeDefault(ctx context.Context) error {
	own := b.own()
	var (
		before *db.Relay
		taken  bool
	)
	err := pgx.BeginFunc(ctx, b.cfg.Pool, func(tx pgx.Tx) (err error) {
		before, taken, err = db.TakeDefault(ctx, tx, own)
		if err == nil && taken && before != nil && before.Credential != nil {
			err = db.DropPause(ctx, tx, *before.Credential)
		}
		return err
	})
	if err != nil {
		return err
	}
	b.taken = *own.Credential
	if taken && before != nil {
		b.logTaken(*before, own)
	}
	return nil
}

// logTaken says what has changed for all processes.
func (b *relayBook) logTaken(before, own db.Relay) {
	switch {
	case before.BaseURL != own.BaseURL || before.TaskPath != own.TaskPath:
		b.cfg.Log.Warn("this process's settings define the relay default from now on; processes with other settings stop polling it",
			"before", describe(before), "now", describe(own))
	case before.Credential == nil || *before.Credential != *own.Credential:
		b.cfg.Log.Info("the relay default is polled with another key from now on; processes with the old key stop polling it", "before", describe(before), "now", describe(own))
	default:
		b.cfg.Log.Info("the poll rate of the relay default is another from now on, for all processes", "before", before.PollRate, "now", own.PollRate)
	}
}

// asks identifies what the settings of this process ask as the relay default; other
// processes see it.
func (b *relayBook) asks() string { return b.own().Identity() }

// desertedAfter is how long no process may have asked what the row default says until one
// with other settings takes it over: the one that wrote it has gone.
const desertedAfter = 10 * time.Second

// noteDeserted has the row default taken over where nobody has asked what it says for a
// while.
func (b *relayBook) noteDeserted(ctx context.Context, row db.Relay, now time.Time) error {
	asked, err := db.AskedByAnybody(ctx, b.cfg.Pool, row.Identity())
	switch {
	case err != nil:
		return fmt.Errorf("looking for processes that ask the relay default: %w", err)
	case asked:
		b.deserted = time.Time{}
	case b.deserted.IsZero():
		b.deserted = now
	case now.Sub(b.deserted) >= desertedAfter:
		b.deserted, b.taken = time.Time{}, ""
	}
	return nil
}

// describe names what makes a relay another one.
func describe(r db.Relay) string {
	credential := "none yet"
	if r.Credential != nil {
		credential = *r.Credential
	}
	return fmt.Sprintf("%s%s with the key %s at %g requests/s", r.BaseURL, r.TaskPath, credential, r.PollRate)
}

// spec says how this process asks a relay.
func (b *relayBook) spec(ctx context.Context, row db.Relay) poll.Spec {
	s := poll.Spec{Name: row.Name, Version: row.Version, Rate: row.PollRate, BatchSize: row.BatchSize, OutputLifetime: row.OutputLifetime, Slots: slotsOf(row)}
	if row.Name == db.DefaultRelay {
		s.Client, s.Unusable = b.ownClient(row)
		return s
	}
	known, ok := b.opened[row.Name]
	if !ok || known.version != row.Version {
		client, err := relays.Open(row, relays.Options{Keyring: b.cfg.Keyring, Timeout: b.cfg.PollTimeout, UserAgent: b.cfg.UserAgent})
		if ok {
			known.client.Close()
			delete(b.opened, row.Name)
		}
		if err != nil {
			s.Unusable = err.Error()
			return s
		}
		known = opened{version: row.Version, client: client}
	}
	if row.StoredKey != nil && !b.cfg.Keyring.Current(*row.StoredKey) {
		b.resealKey(ctx, row)
	}
	if credential := known.client.Credential(); known.noted != credential {
		if err := db.NoteCredential(ctx, b.cfg.Pool, row.Name, credential); err == nil {
			if known.noted != "" {
				b.cfg.Log.Info("the key file of a relay has changed, the new key is in use", "relay", row.Name, "credential", credential)
			}
			known.noted = credential
		}
	}
	b.opened[row.Name] = known
	s.Client = known.client
	return s
}

// resealKey encrypts a stored key under the first of our encryption keys, as is done with
// signing keys: the old one may go then.
func (b *relayBook) resealKey(ctx context.Context, row db.Relay) {
	key, err := b.cfg.Keyring.Open(*row.StoredKey)
	if err == nil {
		err = db.StoreRelayKey(ctx, b.cfg.Pool, row.Name, *row.StoredKey, b.cfg.Keyring.Seal(key))
	}
	if err != nil {
		b.cfg.Log.Warn("encrypting the key of a relay under the new encryption key, trying again", "relay", row.Name, "error", err.Error())
	}
}

// ownClient is the client of our settings, unless the row default says something else.
func (b *relayBook) ownClient(row db.Relay) (client *klingapi.Client, unusable string) {
	own := b.own()
	if row.BaseURL == own.BaseURL && row.TaskPath == own.TaskPath && row.Credential != nil && *row.Credential == *own.Credential {
		return b.cfg.Relay, ""
	}
	return nil, fmt.Sprintf("another process has set it to %s, but the settings of this process say %s; restart the process whose settings you want", describe(row), describe(own))
}

// logClosures logs once which relays cannot be asked here, and when they can again.
func (b *relayBook) logClosures(specs []poll.Spec, now time.Time) {
	for _, s := range specs {
		c, known := b.closed[s.Name]
		switch {
		case s.Unusable == "" && known:
			delete(b.closed, s.Name)
			if c.logged {
				b.cfg.Log.Info("this process polls the relay again", "relay", s.Name)
			}
		case s.Unusable == "":
		case c.why != s.Unusable:
			b.closed[s.Name] = closure{why: s.Unusable, since: now}
		case !c.logged && now.Sub(c.since) >= closureTold:
			c.logged = true
			b.closed[s.Name] = c
			b.cfg.Log.Error("this process does not poll a relay; everything else continues", "relay", s.Name, "reason", s.Unusable)
		}
	}
}
