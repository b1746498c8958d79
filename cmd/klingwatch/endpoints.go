package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

type endpointsCommand struct {
	Add     endpointsAdd     `cmd:"" help:"Add a receiver and print its signing secret."`
	List    endpointsList    `cmd:"" help:"List the receivers."`
	Edit    endpointsEdit    `cmd:"" help:"Change a receiver's URL, or which events it gets."`
	Ping    endpointsPing    `cmd:"" help:"Send a test webhook, report how it went, and show how to verify it."`
	Rotate  endpointsRotate  `cmd:"" help:"Give a receiver a new secret; the old one also signs for a while."`
	Remove  endpointsRemove  `cmd:"" help:"Remove a receiver and its deliveries."`
	Disable endpointsDisable `cmd:"" help:"Stop sending to a receiver; its deliveries wait."`
	Enable  endpointsEnable  `cmd:"" help:"Send to a receiver again, beginning with what waited."`
}

type endpointsAdd struct {
	URL         string   `arg:"" help:"Absolute http(s) URL."`
	Events      []string `help:"Event types, separated by commas, or all; default: those that end a task." placeholder:"TYPE"`
	Actions     []string `help:"Only tasks of these kinds, like videos or images/generations; default: all." placeholder:"PATH"`
	Thin        bool     `help:"Send ids and status only."`
	Description string   `help:"A note for people." placeholder:"TEXT"`
}

func (e endpointsAdd) Run(ctx context.Context, c *console) error {
	if err := webhook.CheckURL(e.URL); err != nil {
		return fmt.Errorf("%q: %w", e.URL, err)
	}
	types, err := eventTypes(e.Events)
	if err != nil {
		return err
	}
	if len(types) == 0 {
		types = webhook.TerminalTypes
	}
	actions, err := actionPaths(e.Actions)
	if err != nil {
		return err
	}
	return withDatabase(ctx, c, func(s settings, d *database) error {
		if err := ledger.CheckKeyring(ctx, d.Pool, s.keyring()); err != nil {
			return err
		}
		secret := webhook.NewSecret()
		id, err := db.AddEndpoint(ctx, d.Pool, db.NewEndpoint{
			URL: e.URL, EventTypes: types, Actions: actions, Thin: e.Thin, Description: e.Description, Secret: s.keyring().Seal(secret),
		})
		if err != nil {
			return urlTaken(e.URL, fmt.Errorf("adding the receiver: %w", err))
		}
		fmt.Fprintf(c.out, "endpoint %d gets %s\nsigning secret: %s\ntry it: klingwatch endpoints ping %d\n", id, strings.Join(types, ", "), secret, id)
		return nil
	})
}

// urlTaken says so where that is what went wrong.
func urlTaken(url string, err error) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "23505" {
		return fmt.Errorf("%s is a receiver already; see klingwatch endpoints list", url)
	}
	return err
}

// eventTypes checks a choice of event types; nil for none.
func eventTypes(chosen []string) ([]string, error) {
	if slices.Equal(chosen, []string{"all"}) {
		return webhook.Types, nil
	}
	for _, t := range chosen {
		if !slices.Contains(webhook.Types, t) {
			return nil, fmt.Errorf("--events: %q is not one of %s", t, strings.Join(webhook.Types, ", "))
		}
	}
	return chosen, nil
}

var actionPath = regexp.MustCompile(`^[a-z0-9-]+(/[a-z0-9-]+){0,2}$`)

// actionPaths checks a choice of tasks; "all" is the empty choice, nil none.
func actionPaths(chosen []string) ([]string, error) {
	if slices.Equal(chosen, []string{"all"}) {
		return []string{}, nil
	}
	for _, path := range chosen {
		if !actionPath.MatchString(path) {
			return nil, fmt.Errorf("--actions: %q is neither an action like videos nor a path like videos/text2video", path)
		}
	}
	return chosen, nil
}

type endpointsList struct {
	JSON bool `help:"Print one JSON object per line."`
}

func (e endpointsList) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		endpoints, err := db.ListEndpoints(ctx, d.Pool)
		if err != nil {
			return fmt.Errorf("reading the receivers: %w", err)
		}
		var rows [][]string
		for _, w := range endpoints {
			if e.JSON {
				if err := printJSON(c.out, w); err != nil {
					return err
				}
				continue
			}
			state, why := "enabled", ""
			switch {
			case w.DisabledAt != nil:
				state, why = "disabled", deref(w.DisabledReason)
			case w.FailingSince != nil:
				state, why = "failing", fmt.Sprintf("for %s: %s", ago(*w.FailingSince), deref(w.LastError))
			}
			gets := strings.Join(w.EventTypes, ",")
			if len(w.Actions) > 0 {
				gets += " of " + strings.Join(w.Actions, ",")
			}
			if w.Thin {
				gets += " (thin)"
			}
			rows = append(rows, []string{strconv.FormatInt(w.ID, 10), state, strconv.Itoa(w.Waiting), w.URL, gets, why})
		}
		if !e.JSON {
			c.printTable([]string{"ID", "STATE", "WAITING", "URL", "GETS", "WHY"}, rows)
		}
		return nil
	})
}

type endpointsEdit struct {
	ID          int64    `arg:"" help:"Number of the receiver."`
	URL         *string  `help:"New URL, also for the deliveries that wait." placeholder:"URL"`
	Events      []string `help:"Event types, separated by commas, or all." placeholder:"TYPE"`
	Actions     []string `help:"Only tasks of these kinds, like videos or images/generations, or all." placeholder:"PATH"`
	Thin        *bool    `help:"Send ids and status only." negatable:""`
	Description *string  `help:"A note for people." placeholder:"TEXT"`
}

func (e endpointsEdit) Run(ctx context.Context, c *console) error {
	if e.URL != nil {
		if err := webhook.CheckURL(*e.URL); err != nil {
			return fmt.Errorf("%q: %w", *e.URL, err)
		}
	}
	types, err := eventTypes(e.Events)
	if err != nil {
		return err
	}
	actions, err := actionPaths(e.Actions)
	if err != nil {
		return err
	}
	if e.URL == nil && types == nil && actions == nil && e.Thin == nil && e.Description == nil {
		return errors.New("say what to change: --url, --events, --actions, --thin or --description")
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		err := db.ChangeEndpoint(ctx, d.Pool, e.ID, db.EndpointChange{URL: e.URL, EventTypes: types, Actions: actions, Thin: e.Thin, Description: e.Description})
		if err != nil {
			return urlTaken(deref(e.URL), endpointError(e.ID, err))
		}
		fmt.Fprintf(c.out, "endpoint %d is changed\n", e.ID)
		return nil
	})
}

type endpointsRotate struct {
	ID    int64         `arg:"" help:"Number of the receiver."`
	Grace time.Duration `default:"24h" help:"How long the old secret also signs."`
}

func (e endpointsRotate) Run(ctx context.Context, c *console) error {
	return rotate(ctx, c, &e.ID, e.Grace)
}

type endpointsDisable struct {
	ID int64 `arg:"" help:"Number of the receiver."`
}

func (e endpointsDisable) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if _, err := db.GetEndpoint(ctx, d.Pool, e.ID); err != nil {
			return endpointError(e.ID, err)
		}
		if _, err := db.DisableEndpoint(ctx, d.Pool, e.ID, "", "disabled by a person"); err != nil {
			return endpointError(e.ID, err)
		}
		fmt.Fprintf(c.out, "endpoint %d is disabled; its deliveries wait\n", e.ID)
		return nil
	})
}

type endpointsRemove struct {
	ID int64 `arg:"" help:"Number of the receiver."`
}

// removeBatch keeps each deletion short.
const removeBatch = 1000

func (e endpointsRemove) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		endpoint, err := db.GetEndpoint(ctx, d.Pool, e.ID)
		if err != nil {
			return endpointError(e.ID, err)
		}
		if _, err := db.DisableEndpoint(ctx, d.Pool, e.ID, "", "it is being removed"); err != nil {
			return endpointError(e.ID, err)
		}
		for done := false; !done; {
			var err error
			if done, err = db.RemoveEndpoint(ctx, d.Pool, e.ID, removeBatch); err != nil {
				return endpointError(e.ID, err)
			}
		}
		fmt.Fprintf(c.out, "endpoint %d is removed, with %d deliveries that had not arrived\n", e.ID, endpoint.Waiting)
		return nil
	})
}

type endpointsEnable struct {
	ID int64 `arg:"" help:"Number of the receiver."`
}

func (e endpointsEnable) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		released := 0
		err := d.inTx(ctx, func(tx pgx.Tx) (err error) {
			if err = db.EnableEndpoint(ctx, tx, e.ID); err != nil {
				return err
			}
			released, err = db.ReleaseDeliveries(ctx, tx, e.ID)
			return err
		})
		if err != nil {
			return endpointError(e.ID, err)
		}
		fmt.Fprintf(c.out, "endpoint %d is enabled; %d waiting deliveries go out now\n", e.ID, released)
		return nil
	})
}

func endpointError(id int64, err error) error {
	if errors.Is(err, db.ErrNotFound) {
		return fmt.Errorf("there is no endpoint %d; see klingwatch endpoints list", id)
	}
	return fmt.Errorf("changing endpoint %d: %w", id, err)
}
