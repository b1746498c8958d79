package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/lookback"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/readable"
)

type deliveriesCommand struct {
	List      deliveriesList      `cmd:"" may:"klingwatch_reader or klingwatch_operator" help:"List deliveries, newest first."`
	Show      deliveriesShow      `cmd:"" may:"klingwatch_reader or klingwatch_operator" help:"Show a delivery: the request, the answers, and how long each step took."`
	Redeliver deliveriesRedeliver `cmd:"" may:"klingwatch_operator" help:"Send one delivery again, or all that the flags select."`
	Cancel    deliveriesCancel    `cmd:"" may:"klingwatch_operator" help:"Cancel a delivery that has not arrived yet."`
}

type deliveriesList struct {
	deliveryChoice
	Cursor int64 `help:"Go on behind this id: what --limit left out." placeholder:"ID"`
	Limit  int   `help:"Show at most this many, newest first." default:"50"`
	JSON   bool  `help:"Print one JSON object per line."`
}

func (l deliveriesList) Run(ctx context.Context, c *console) error {
	if err := checkListing("--state", l.State, db.DeliveryStates, l.Limit, l.period); err != nil {
		return err
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := operate.KnowsRelay(ctx, d.Pool, l.Relay); err != nil {
			return err
		}
		if l.Endpoint != nil {
			if _, err := operate.GetEndpoint(ctx, d.Pool, *l.Endpoint); err != nil {
				return err
			}
		}
		page, err := db.ListDeliveries(ctx, d.Pool, l.choice(), lookback.Search{Before: l.Cursor, Limit: l.Limit, Within: lookTime})
		if err != nil {
			return fmt.Errorf("reading the deliveries: %w", err)
		}
		hintMore(c, page)
		if len(page.Items) == 0 {
			if err := c.hintApp(ctx, d, l.App); err != nil {
				return err
			}
		}
		if l.JSON {
			return printLines(c.out, page.Items)
		}
		var rows [][]string
		for _, x := range page.Items {
			rows = append(rows, []string{
				strconv.FormatInt(x.ID, 10), x.Type, taskOf(x), x.State, strconv.Itoa(x.Attempts), ago(x.CreatedAt), when(x.NextAttemptAt), receiverOf(x),
				cut(deref(x.LastError), 60),
			})
		}
		c.printTable([]string{"ID", "TYPE", "TASK", "STATE", "TRIES", "AGE", "NEXT", "RECEIVER", "WHY"}, rows)
		return nil
	})
}

func taskOf(d db.Delivery) string {
	if d.Task == nil {
		return ""
	}
	return strconv.FormatInt(*d.Task, 10)
}

func receiverOf(d db.Delivery) string {
	if d.Endpoint == nil {
		return d.URL
	}
	return fmt.Sprintf("endpoint %d %s", *d.Endpoint, d.URL)
}

type deliveriesShow struct {
	ID   int64 `arg:"" help:"Number of the delivery."`
	JSON bool  `help:"Print one JSON object."`
}

// Run shows a delivery.
func (s deliveriesShow) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		view, err := operate.ViewDelivery(ctx, d.Pool, s.ID, userAgent())
		if err != nil {
			return err
		}
		if s.JSON {
			return printJSON(c.out, view)
		}
		c.printDelivery(view)
		return nil
	})
}

// printDelivery prints the request without its signature, and each attempt.
func (c *console) printDelivery(d operate.DeliveryView) {
	for _, field := range []struct{ name, value string }{
		{"delivery", fmt.Sprintf("%d  %s", d.ID, d.Type)},
		{"task", taskOf(d.Delivery)},
		{"receiver", receiverOf(d.Delivery)},
		{"state", d.State},
		{"why", deref(d.LastError)},
		{"event", when(&d.CreatedAt)},
		{"delivered", when(d.DeliveredAt)},
		{"next attempt", when(d.NextAttemptAt)},
	} {
		c.printField(field.name, field.value)
	}
	fmt.Fprintf(c.out, "\nPOST %s\n", clean(d.URL))
	for _, header := range d.Headers {
		fmt.Fprintf(c.out, "%s: %s\n", header[0], header[1])
	}
	fmt.Fprintf(c.out, "\n%s\n", clean(string(d.RawBody)))
	for _, a := range d.AttemptLog {
		fmt.Fprintf(c.out, "\nattempt %d, %s: %s\n", a.Attempt, when(&a.StartedAt), resultOf(a))
		c.printField("  why", deref(a.Error))
		c.printField("  address", deref(a.RemoteAddr))
		c.printField("  took", stepsOf(a))
		c.printField("  answer", strings.TrimSpace(deref(a.ResponseBody)))
	}
}

// resultOf tells what came back.
func resultOf(a db.Attempt) string {
	if a.StatusCode != nil {
		return "HTTP " + strconv.Itoa(*a.StatusCode)
	}
	return "no answer"
}

// stepsOf tells how long the steps of an attempt took.
func stepsOf(a db.Attempt) string {
	text := milliseconds(a.FinishedAt.Sub(a.StartedAt).Seconds())
	var steps []string
	for _, step := range []struct {
		name    string
		seconds *float64
	}{{"DNS", a.DNSSeconds}, {"connect", a.ConnectSeconds}, {"TLS", a.TLSSeconds}, {"first byte after", a.FirstByteSeconds}} {
		if step.seconds != nil {
			steps = append(steps, step.name+" "+milliseconds(*step.seconds))
		}
	}
	if len(steps) > 0 {
		text += " (" + strings.Join(steps, ", ") + ")"
	}
	return text
}

func milliseconds(seconds float64) string {
	return strconv.FormatFloat(seconds*1000, 'f', 1, 64) + " ms"
}

type deliveriesCancel struct {
	ID int64 `arg:"" help:"Number of the delivery."`
}

// Run cancels a delivery.
func (x deliveriesCancel) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := operate.CancelDelivery(ctx, d.Pool, x.ID); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "delivery %d is canceled; a request that is on its way may still arrive\n", x.ID)
		return nil
	})
}

// moment is a time on the command line: a date, a time, or a distance to now.
type moment struct{ time.Time }

// UnmarshalText reads it.
func (m *moment) UnmarshalText(text []byte) error {
	if d, err := readable.ParseDuration(string(text)); err == nil {
		m.Time = time.Now().Add(-d.Abs())
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, string(text), time.Local); err == nil {
			m.Time = t
			return nil
		}
	}
	return fmt.Errorf("%q is neither a distance like 2h or 7d nor a time like 2026-11-23 or 2026-11-23T08:00:00Z", text)
}
