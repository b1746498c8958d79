package operate

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

// NewEndpoint is a receiver about to be added.
type NewEndpoint struct {
	URL         string
	Events      []string // event types; "all" alone: all of them; empty: the terminal ones
	Actions     []string // like videos or videos/text2video; empty, or "all" alone: all tasks
	Thin        bool     // ids and status only
	Description string
}

// Check returns an *Error for what cannot be added.
func (e NewEndpoint) Check() error {
	_, _, err := e.choices()
	return err
}

// choices are the checked event types and actions.
func (e NewEndpoint) choices() (types, actions []string, err error) {
	if err = checkURL(e.URL); err != nil {
		return nil, nil, err
	}
	if types, err = eventTypes(e.Events); err != nil {
		return nil, nil, err
	}
	if len(types) == 0 {
		types = webhook.TerminalTypes
	}
	actions, err = actionPaths(e.Actions)
	return types, actions, err
}

// AddedEndpoint is what its receiver must know.
type AddedEndpoint struct {
	ID     int64
	Events []string // what it gets
	Secret string   // signs its webhooks; shown once
}

// AddEndpoint adds a receiver of every task's events.
func AddEndpoint(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, e NewEndpoint) (AddedEndpoint, error) {
	types, actions, err := e.choices()
	if err != nil {
		return AddedEndpoint{}, err
	}
	if err := ledger.CheckKeyring(ctx, pool, ring); err != nil {
		return AddedEndpoint{}, err
	}
	secret := webhook.NewSecret()
	id, err := db.AddEndpoint(ctx, pool, db.NewEndpoint{
		URL: e.URL, EventTypes: types, Actions: actions, Thin: e.Thin, Description: e.Description, Secret: ring.Seal(secret),
	})
	if err != nil {
		return AddedEndpoint{}, urlTaken(e.URL, err)
	}
	return AddedEndpoint{id, types, secret}, nil
}

// EndpointEdit is a change of a receiver; nil keeps what is there.
type EndpointEdit struct {
	URL         *string
	Events      []string // as in NewEndpoint, but empty keeps them
	Actions     []string // as in NewEndpoint, but empty keeps them
	Thin        *bool
	Description *string
}

// Check returns an *Error for an edit that cannot be made, or changes nothing.
func (e EndpointEdit) Check() error {
	_, _, err := e.choices()
	return err
}

// choices are the checked event types and actions; nil keeps what is there.
func (e EndpointEdit) choices() (types, actions []string, err error) {
	if e.URL != nil {
		if err = checkURL(*e.URL); err != nil {
			return nil, nil, err
		}
	}
	if types, err = eventTypes(e.Events); err != nil {
		return nil, nil, err
	}
	if actions, err = actionPaths(e.Actions); err != nil {
		return nil, nil, err
	}
	if e.URL == nil && types == nil && actions == nil && e.Thin == nil && e.Description == nil {
		return nil, nil, invalid("", "say what to change: the URL, events, actions, thin or description")
	}
	return types, actions, nil
}

// EditEndpoint changes what a receiver gets, or where; what waits goes to the
// new URL.
func EditEndpoint(ctx context.Context, pool *pgxpool.Pool, id int64, e EndpointEdit) error {
	types, actions, err := e.choices()
	if err != nil {
		return err
	}
	err = db.ChangeEndpoint(ctx, pool, id, db.EndpointChange{URL: e.URL, EventTypes: types, Actions: actions, Thin: e.Thin, Description: e.Description})
	if err != nil {
		url := ""
		if e.URL != nil {
			url = *e.URL
		}
		return urlTaken(url, endpointError(id, "changing", err))
	}
	return nil
}

// EnableEndpoint lets a receiver have its events again, what waited first, and
// returns how many webhooks that is.
func EnableEndpoint(ctx context.Context, pool *pgxpool.Pool, id int64) (released int, err error) {
	if released, err = ledger.EnableEndpoint(ctx, pool, id); err != nil {
		return 0, endpointError(id, "enabling", err)
	}
	return released, nil
}

// DisableEndpoint stops sending to a receiver; its deliveries wait.
func DisableEndpoint(ctx context.Context, pool *pgxpool.Pool, id int64) error {
	if _, err := db.GetEndpoint(ctx, pool, id); err != nil {
		return endpointError(id, "disabling", err)
	}
	if _, err := db.DisableEndpoint(ctx, pool, id, "", "disabled by a person"); err != nil {
		return endpointError(id, "disabling", err)
	}
	return nil
}

// removeBatch keeps each deletion short.
const removeBatch = 1000

// RemoveEndpoint removes a receiver with its deliveries, and returns how many of
// them had not arrived.
func RemoveEndpoint(ctx context.Context, pool *pgxpool.Pool, id int64) (waiting int, err error) {
	endpoint, err := db.GetEndpoint(ctx, pool, id)
	if err != nil {
		return 0, endpointError(id, "removing", err)
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := db.DisableEndpoint(ctx, tx, id, "", "it is being removed"); err != nil {
			return err
		}
		_, err := db.RemoveEndpoint(ctx, tx, id, 0) // who may not go on does not begin
		return err
	})
	if err != nil {
		return 0, endpointError(id, "removing", err)
	}
	for done := false; !done; {
		if done, err = db.RemoveEndpoint(ctx, pool, id, removeBatch); err != nil {
			return 0, endpointError(id, "removing", err)
		}
	}
	return endpoint.Waiting, nil
}

// GetEndpoint returns a receiver.
func GetEndpoint(ctx context.Context, pool *pgxpool.Pool, id int64) (db.Endpoint, error) {
	endpoint, err := db.GetEndpoint(ctx, pool, id)
	if err != nil {
		return endpoint, endpointError(id, "reading", err)
	}
	return endpoint, nil
}

func endpointError(id int64, doing string, err error) error {
	return missing(err, "endpoint", id, doing, "see klingwatch endpoints list")
}

// uniqueViolation is Postgres' code for a value that is there already.
const uniqueViolation = "23505"

// urlTaken says so where that is what went wrong.
func urlTaken(url string, err error) error {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == uniqueViolation {
		return refuse(Conflict, "see klingwatch endpoints list", "%s is a receiver already", url)
	}
	return err
}

func checkURL(url string) error {
	if err := webhook.CheckURL(url); err != nil {
		return invalid("", "%q: %s", url, err).rule("the URL must be an absolute http or https URL without user and fragment")
	}
	return nil
}

// eventTypes checks a choice of event types; nil for none.
func eventTypes(chosen []string) ([]string, error) {
	switch {
	case len(chosen) == 0:
		return nil, nil
	case slices.Equal(chosen, []string{"all"}):
		return webhook.Types, nil
	}
	for _, t := range chosen {
		if !slices.Contains(webhook.Types, t) {
			return nil, invalid("events", "has %q, which is not one of %s", t, strings.Join(webhook.Types, ", ")).rule("must be some of " + strings.Join(webhook.Types, ", "))
		}
	}
	return chosen, nil
}

var actionPath = regexp.MustCompile(`^[a-z0-9-]+(/[a-z0-9-]+){0,2}$`)

// actionPaths checks a choice of tasks; nil for none, empty for "all".
func actionPaths(chosen []string) ([]string, error) {
	switch {
	case len(chosen) == 0:
		return nil, nil
	case slices.Equal(chosen, []string{"all"}):
		return []string{}, nil
	}
	for _, path := range chosen {
		if !actionPath.MatchString(path) {
			return nil, invalid("actions", "has %q, which is neither an action like videos nor a path like videos/text2video", path).rule("must be actions like videos or paths like videos/text2video")
		}
	}
	return chosen, nil
}
