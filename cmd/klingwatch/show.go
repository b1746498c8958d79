package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/readable"
)

type showCommand struct {
	ID   string `arg:"" help:"The task's id: ours or the provider's."`
	JSON bool   `help:"Print one JSON object per task."`
}

// Run shows all that is known of the tasks with an id.
func (s showCommand) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(set settings, d *database) error {
		tasks, err := operate.FindTasks(ctx, d.Pool, s.ID)
		if err != nil {
			return err
		}
		if err := c.hintPaused(ctx, d); err != nil {
			return err
		}
		schedules, err := operate.LearnSchedules(ctx, d.Pool, set.PollInterval)
		if err != nil {
			fmt.Fprintln(c.err, "the expected end is not known:", clean(err.Error()))
		}
		for i, task := range tasks {
			view, err := operate.ViewTask(ctx, d.Pool, task, schedules)
			if err != nil {
				return err
			}
			if s.JSON {
				if err := printJSON(c.out, view); err != nil {
					return err
				}
				continue
			}
			if i > 0 {
				fmt.Fprintln(c.out)
			}
			c.printTask(view)
		}
		return nil
	})
}

// printTask prints what is known, for people; empty fields are left out.
func (c *console) printTask(t operate.TaskView) {
	for _, field := range []struct{ name, value string }{
		{"task", fmt.Sprintf("%d  %s/%s  %s", t.ID, t.Action, t.Action2, t.TaskID)},
		{"relay", t.Relay},
		{"app", t.App},
		{"status", t.Status},
		{"why", t.StatusMessage},
		{"ended by", deref(t.EndedBy)},
		{"provider says", deref(t.UpstreamStatus)},
		{"external id", deref(t.ExternalID)},
		{"callback", deref(t.CallbackURL)},
		{"metadata", nonTrivial(t.Metadata)},
		{"created", when(&t.CreatedAt)},
		{"submitted", when(t.SubmittedAt)},
		{"processing", when(t.ProcessingAt)},
		{"finished", when(t.FinishedAt)},
		{"expected", expectedText(t.Expected)},
		{"deadline", when(t.DeadlineAt)},
		{"polls", strconv.Itoa(t.Polls)},
		{"last poll", when(t.LastPolledAt)},
		{"next poll", when(t.NextPollAt)},
		{"last error", deref(t.LastError)},
		{"error code", deref(t.ErrorCode)},
		{"request id", deref(t.RequestID)},
		{"units", string(deref(t.UnitDeduction))},
	} {
		c.printField(field.name, field.value)
	}
	for _, o := range t.Outputs {
		fmt.Fprintf(c.out, "\n%s %d\n  %s\n", o.Kind, o.Position, clean(o.URL))
		if o.NeedsKey {
			fmt.Fprintln(c.out, "  the relay's own link: it answers only with the relay's key")
		}
		if o.ExpiresAt != nil {
			fmt.Fprintf(c.out, "  until %s\n", when(o.ExpiresAt))
		}
	}
	if len(t.Events) > 0 {
		fmt.Fprintln(c.out)
		rows := make([][]string, len(t.Events))
		for i, e := range t.Events {
			rows[i] = []string{strconv.Itoa(e.Sequence), e.Type, e.EventID, when(&e.CreatedAt)}
		}
		c.printTable([]string{"EVENT", "TYPE", "WEBHOOK-ID", "AT"}, rows)
	}
	if len(t.Deliveries) > 0 {
		fmt.Fprintln(c.out)
		c.printDeliveries(t.Deliveries)
	}
}

// expectedText shows both times, or nothing.
func expectedText(e *operate.Expected) string {
	if e == nil {
		return ""
	}
	return fmt.Sprintf("half of such tasks end by %s, nine tenths by %s", when(&e.P50), when(&e.P90))
}

func (c *console) printDeliveries(deliveries []operate.TaskDelivery) {
	var rows [][]string
	for _, d := range deliveries {
		rows = append(rows, []string{strconv.FormatInt(d.ID, 10), d.Type, d.State, when(d.NextAttemptAt), d.URL})
		for _, a := range d.AttemptLog {
			rows = append(rows, []string{"", fmt.Sprintf("attempt %d", a.Attempt), resultOf(a), when(&a.StartedAt), deref(a.Error)})
		}
		if d.State != db.DeliveryDelivered && d.LastError != nil && (len(d.AttemptLog) == 0 || deref(d.AttemptLog[len(d.AttemptLog)-1].Error) != *d.LastError) {
			rows = append(rows, []string{"", "", "", "", *d.LastError})
		}
	}
	c.printTable([]string{"DELIVERY", "TYPE", "STATE", "NEXT / AT", "RECEIVER / WHY"}, rows)
}

// printField prints a name and a value; nothing for an empty one.
func (c *console) printField(name, value string) {
	if value == "" {
		return
	}
	value = clean(value)
	if name == "status" || name == "state" {
		value = styleOf(value).Render(value)
	}
	_, _ = lipgloss.Fprintln(c.out, fmt.Sprintf("%-14s %s", name, value))
}

// when shows a time with its distance; nothing for none.
func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	if d := time.Until(*t); d > 0 {
		return fmt.Sprintf("%s (in %s)", t.Local().Format(time.DateTime), readable.Duration(d))
	}
	return fmt.Sprintf("%s (%s ago)", t.Local().Format(time.DateTime), ago(*t))
}

func nonTrivial(metadata json.RawMessage) string {
	if string(metadata) == "{}" {
		return ""
	}
	return string(metadata)
}
