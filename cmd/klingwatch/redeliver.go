package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
)

type deliveriesRedeliver struct {
	ID        int64    `arg:"" optional:"" help:"Number of one delivery."`
	Endpoint  *int64   `help:"Only deliveries to this endpoint." placeholder:"ID"`
	Since     moment   `help:"Only deliveries of events since this time: 2h, 7d, 2026-11-23 or 2026-11-23T08:00:00Z." placeholder:"WHEN"`
	Until     moment   `help:"Only deliveries of events before this time; default: now." placeholder:"WHEN"`
	State     []string `help:"Only deliveries in these states; default: exhausted." default:"exhausted" placeholder:"STATE"`
	PerSecond int      `help:"How many to make due per second." default:"50"`
	Wait      bool     `help:"Wait until all are due, and show the progress."`
}

// Run makes one delivery due, or begins a bulk redelivery, which a running
// service works off.
func (r deliveriesRedeliver) Run(ctx context.Context, c *console) error {
	bulk := r.Endpoint != nil || !r.Since.IsZero()
	switch {
	case r.ID != 0 && bulk:
		return errors.New("give either the number of one delivery or flags that choose many")
	case r.ID == 0 && !bulk:
		return errors.New("choose what to send again: the number of a delivery, --endpoint or --since")
	case !r.Until.IsZero() && !r.Until.After(r.Since.Time):
		return errors.New("--until must be later than --since")
	case r.PerSecond < 1 || r.PerSecond > 500:
		return fmt.Errorf("--per-second must be from 1 to 500, not %d", r.PerSecond)
	}
	for _, state := range r.State {
		if state != db.DeliveryExhausted && state != db.DeliveryDelivered && state != db.DeliveryCanceled {
			return fmt.Errorf("--state must be exhausted, delivered or canceled, not %q", state)
		}
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if r.ID != 0 {
			return redeliverOne(ctx, c, d, r.ID)
		}
		return r.redeliverMany(ctx, c, d)
	})
}

func redeliverOne(ctx context.Context, c *console, d *database, id int64) error {
	now, err := db.Redeliver(ctx, d.Pool, id)
	if err != nil {
		return deliveryError(id, err)
	}
	if now.Waits {
		fmt.Fprintf(c.out, "delivery %d waits: endpoint %d is disabled\n", id, deref(now.Endpoint))
		return nil
	}
	fmt.Fprintf(c.out, "delivery %d is due now, to %s\n", id, clean(now.URL))
	return c.hintIdle(ctx, d)
}

func (r deliveriesRedeliver) redeliverMany(ctx context.Context, c *console, d *database) error {
	if r.Endpoint != nil {
		if _, err := db.GetEndpoint(ctx, d.Pool, *r.Endpoint); err != nil {
			return endpointError(*r.Endpoint, err)
		}
	}
	wanted := db.NewRedelivery{Endpoint: r.Endpoint, Since: r.Since.Time, States: r.State, PerSecond: r.PerSecond}
	if !r.Until.IsZero() {
		wanted.Until = &r.Until.Time
	}
	bulk, err := db.AddRedelivery(ctx, d.Pool, wanted)
	if err != nil {
		return fmt.Errorf("beginning the redelivery: %w", err)
	}
	fmt.Fprintf(c.out, "redelivery %d: %d deliveries become due, %d per second; see klingwatch deliveries progress\n", bulk.ID, bulk.Matched, bulk.PerSecond)
	if err := c.hintIdle(ctx, d); err != nil || !r.Wait {
		return err
	}
	return followRedelivery(ctx, c, d, bulk)
}

// followRedelivery waits until a running service has made all of them due.
func followRedelivery(ctx context.Context, c *console, d *database, bulk db.Redelivery) error {
	p := c.newProgress(int(bulk.Matched), "due again")
	defer p.end()
	for {
		now, err := db.ListRedeliveries(ctx, d.Pool, bulk.ID, 1)
		if err != nil {
			return fmt.Errorf("reading the progress: %w", err)
		}
		if len(now) == 0 {
			return errors.New("the endpoint of the redelivery was deleted")
		}
		p.set(int(now[0].Redelivered), fmt.Sprintf("%d of %d are due", now[0].Redelivered, bulk.Matched))
		if now[0].FinishedAt != nil {
			p.line("%d deliveries are due", now[0].Redelivered)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(waitInterval):
		}
	}
}

// sinceText shows the beginning of a choice; nothing where it has none.
func sinceText(t time.Time) string {
	if t.Year() <= 1 {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

type deliveriesStop struct {
	ID int64 `arg:"" help:"Number of the bulk redelivery."`
}

func (x deliveriesStop) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := db.StopRedelivery(ctx, d.Pool, x.ID); err != nil {
			if errors.Is(err, db.ErrNotFound) {
				return fmt.Errorf("no redelivery %d is under way; see klingwatch deliveries progress", x.ID)
			}
			return fmt.Errorf("stopping redelivery %d: %w", x.ID, err)
		}
		fmt.Fprintf(c.out, "redelivery %d is stopped; what is due already goes out\n", x.ID)
		return nil
	})
}

type deliveriesProgress struct {
	ID    int64 `arg:"" optional:"" help:"Number of one bulk redelivery."`
	Limit int   `help:"Show at most this many." default:"20"`
	JSON  bool  `help:"Print one JSON object per line."`
}

func (x deliveriesProgress) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		list, err := db.ListRedeliveries(ctx, d.Pool, x.ID, x.Limit)
		if err != nil {
			return fmt.Errorf("reading the redeliveries: %w", err)
		}
		var rows [][]string
		for _, r := range list {
			if x.JSON {
				if err := printJSON(c.out, r); err != nil {
					return err
				}
				continue
			}
			state := "under way"
			if r.FinishedAt != nil {
				state = "finished"
			}
			endpoint := "all"
			if r.Endpoint != nil {
				endpoint = strconv.FormatInt(*r.Endpoint, 10)
			}
			rows = append(rows, []string{
				strconv.FormatInt(r.ID, 10), state, fmt.Sprintf("%d of %d", r.Redelivered, r.Matched), endpoint, strings.Join(r.States, ","),
				sinceText(r.Since), r.Until.Local().Format(time.DateTime), strconv.Itoa(r.PerSecond),
			})
		}
		if !x.JSON {
			c.printTable([]string{"ID", "STATE", "DUE", "ENDPOINT", "STATES", "SINCE", "UNTIL", "PER SECOND"}, rows)
		}
		return nil
	})
}
