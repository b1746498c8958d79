package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

type endpointsCommand struct {
	Add     endpointsAdd     `cmd:"" help:"Add a receiver; prints its signing secret."`
	List    endpointsList    `cmd:"" help:"List the receivers."`
	Disable endpointsDisable `cmd:"" help:"Stop sending to a receiver; its deliveries wait."`
	Enable  endpointsEnable  `cmd:"" help:"Send again, what waited first."`
}

type endpointsAdd struct {
	URL         string   `arg:"" help:"Absolute http(s) URL."`
	Events      []string `help:"Event types, comma separated, or all; default: the terminal ones." placeholder:"TYPE,..."`
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
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		secret := webhook.NewSecret()
		id, err := db.AddEndpoint(ctx, d.Pool, e.URL, types, e.Description, secret)
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) && pgErr.Code == "23505" {
			return fmt.Errorf("%s is a receiver already; see klingwatch endpoints list", e.URL)
		}
		if err != nil {
			return fmt.Errorf("adding the receiver: %w", err)
		}
		fmt.Fprintf(c.out, "endpoint %d gets %s\nsigning secret: %s\n", id, strings.Join(types, ", "), secret)
		return nil
	})
}

// eventTypes completes and checks a choice of event types.
func eventTypes(chosen []string) ([]string, error) {
	if len(chosen) == 0 {
		return webhook.TerminalTypes, nil
	}
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

type endpointsList struct {
	JSON bool `help:"One JSON object per line."`
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
			state := "enabled"
			if w.DisabledAt != nil {
				state = "disabled"
			}
			rows = append(rows, []string{strconv.FormatInt(w.ID, 10), state, strconv.Itoa(w.Waiting), w.URL, strings.Join(w.EventTypes, ","), deref(w.DisabledReason)})
		}
		if !e.JSON {
			c.printTable([]string{"ID", "STATE", "WAITING", "URL", "EVENTS", "WHY"}, rows)
		}
		return nil
	})
}

type endpointsDisable struct {
	ID int64 `arg:"" help:"Number of the receiver."`
}

func (e endpointsDisable) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := db.DisableEndpoint(ctx, d.Pool, e.ID, "disabled by a person"); err != nil {
			return endpointError(e.ID, err)
		}
		fmt.Fprintf(c.out, "endpoint %d is disabled; its deliveries wait\n", e.ID)
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
