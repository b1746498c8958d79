package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
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
	many := r.Endpoint != nil || !r.Since.IsZero()
	switch {
	case r.ID != 0 && many:
		return errors.New("give either the number of one delivery or flags that choose many")
	case r.ID == 0 && !many:
		return errors.New("choose what to send again: the number of a delivery, --endpoint or --since")
	}
	bulk := operate.Bulk{Endpoint: r.Endpoint, Since: r.Since.Time, Until: r.Until.Time, States: r.State, PerSecond: r.PerSecond}
	if many {
		if err := bulk.Check(); err != nil {
			return err
		}
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if many {
			return r.redeliverMany(ctx, c, d, bulk)
		}
		return redeliverOne(ctx, c, d, r.ID)
	})
}

func redeliverOne(ctx context.Context, c *console, d *database, id int64) error {
	again, err := operate.Redeliver(ctx, d.Pool, id)
	if err != nil {
		return err
	}
	if again.Waits {
		fmt.Fprintf(c.out, "delivery %d waits: endpoint %d is disabled\n", id, deref(again.Endpoint))
		return nil
	}
	fmt.Fprintf(c.out, "delivery %d is due now, to %s\n", id, clean(again.URL))
	return c.hintIdle(ctx, d)
}

func (r deliveriesRedeliver) redeliverMany(ctx context.Context, c *console, d *database, bulk operate.Bulk) error {
	begun, err := operate.RedeliverMany(ctx, d.Pool, bulk)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "redelivery %d: %d deliveries become due, %d per second; see klingwatch deliveries progress\n", begun.ID, begun.Matched, begun.PerSecond)
	if err := c.hintIdle(ctx, d); err != nil || !r.Wait {
		return err
	}
	return followRedelivery(ctx, c, d, begun)
}

// progressLook is how often a command looks at the progress of others.
const progressLook = 250 * time.Millisecond

// followRedelivery waits until a running service has made all of them due.
func followRedelivery(ctx context.Context, c *console, d *database, bulk db.Redelivery) error {
	p := c.newProgress(int(bulk.Matched), "due again")
	defer p.end()
	for {
		now, err := operate.ViewRedelivery(ctx, d.Pool, bulk.ID)
		if err != nil {
			return err
		}
		p.set(int(now.Redelivered), fmt.Sprintf("%d of %d are due", now.Redelivered, bulk.Matched))
		if now.FinishedAt != nil {
			p.line("%d deliveries are due", now.Redelivered)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(progressLook):
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

// Run stops a bulk redelivery.
func (x deliveriesStop) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := operate.StopRedelivery(ctx, d.Pool, x.ID); err != nil {
			return err
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
		if x.JSON {
			return printLines(c.out, list)
		}
		var rows [][]string
		for _, r := range list {
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
		c.printTable([]string{"ID", "STATE", "DUE", "ENDPOINT", "STATES", "SINCE", "UNTIL", "PER SECOND"}, rows)
		return nil
	})
}
