package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/schedule"
)

type showCommand struct {
	ID   string `arg:"" help:"The task's id: ours or the provider's."`
	JSON bool   `help:"Print one JSON object per task."`
}

// shownTask is a task with everything that belongs to it.
type shownTask struct {
	db.Task
	Expected   *expected      `json:"expected"` // null for a task that has ended, and where too few are known
	Outputs    []db.Output    `json:"outputs"`
	Events     []db.Event     `json:"events"`
	Deliveries []taskDelivery `json:"deliveries"`
}

// taskDelivery is a delivery with its attempts.
type taskDelivery struct {
	db.Delivery
	AttemptLog []db.Attempt `json:"attempt_log"`
}

// expected is when a running task ends, going by recent ones of its kind.
type expected struct {
	P50 time.Time `json:"p50"` // half of those that got this old have ended by then
	P90 time.Time `json:"p90"` // nine tenths
}

func (s showCommand) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(set settings, d *database) error {
		tasks, err := db.FindTasks(ctx, d.Pool, s.ID)
		if err != nil {
			return fmt.Errorf("reading the task: %w", err)
		}
		if len(tasks) == 0 {
			return fmt.Errorf("no task has the id %q, neither ours nor the provider's", s.ID)
		}
		if err := c.hintPaused(ctx, d); err != nil {
			return err
		}
		learned, err := schedule.LearnSchedules(ctx, d.Pool, set.PollInterval)
		if err != nil {
			fmt.Fprintln(c.err, "the expected end is not known:", err)
		}
		for i, task := range tasks {
			shown, err := load(ctx, d, task)
			if err != nil {
				return fmt.Errorf("reading the task: %w", err)
			}
			shown.Expected = expect(task, learned)
			if s.JSON {
				if err := printJSON(c.out, shown); err != nil {
					return err
				}
				continue
			}
			if i > 0 {
				fmt.Fprintln(c.out)
			}
			c.printTask(shown)
		}
		return nil
	})
}

// expect tells when a running task ends; nil where that is not known.
func expect(task db.Task, learned map[schedule.TaskType]*schedule.Schedule) *expected {
	known := learned[schedule.TaskType{Action: task.Action, Action2: task.Action2}]
	if known == nil || db.Terminal(task.Status) {
		return nil
	}
	now := time.Now()
	p50, ok50 := known.Remaining(now.Sub(task.CreatedAt), 0.5)
	p90, ok90 := known.Remaining(now.Sub(task.CreatedAt), 0.9)
	if !ok50 || !ok90 {
		return nil
	}
	return &expected{P50: now.Add(p50), P90: now.Add(p90)}
}

func load(ctx context.Context, d *database, task db.Task) (shown shownTask, err error) {
	shown.Task = task
	if shown.Outputs, err = db.OutputsOfTask(ctx, d.Pool, task.ID); err != nil {
		return shown, err
	}
	if shown.Events, err = db.EventsOfTask(ctx, d.Pool, task.ID); err != nil {
		return shown, err
	}
	shown.Deliveries, err = loadDeliveries(ctx, d, task.ID)
	return shown, err
}

// loadDeliveries reads a task's deliveries with their attempts.
func loadDeliveries(ctx context.Context, d *database, task int64) ([]taskDelivery, error) {
	deliveries, err := db.DeliveriesOfTask(ctx, d.Pool, task)
	if err != nil {
		return nil, err
	}
	ids, loaded := make([]int64, len(deliveries)), make([]taskDelivery, len(deliveries))
	place := map[int64]int{}
	for i, delivery := range deliveries {
		ids[i], loaded[i], place[delivery.ID] = delivery.ID, taskDelivery{delivery, []db.Attempt{}}, i
	}
	attempts, err := db.AttemptsOf(ctx, d.Pool, ids)
	for _, a := range attempts {
		at := &loaded[place[a.Delivery]]
		at.AttemptLog = append(at.AttemptLog, a)
	}
	return loaded, err
}

// printTask prints what is known, for people; empty fields are left out.
func (c *console) printTask(t shownTask) {
	for _, field := range []struct{ name, value string }{
		{"task", fmt.Sprintf("%d  %s/%s  %s", t.ID, t.Action, t.Action2, t.TaskID)},
		{"status", t.Status},
		{"why", t.StatusMessage},
		{"provider says", deref(t.UpstreamStatus)},
		{"external id", deref(t.ExternalID)},
		{"callback", deref(t.CallbackURL)},
		{"metadata", nonTrivial(t.Metadata)},
		{"created", when(&t.CreatedAt)},
		{"submitted", when(t.SubmittedAt)},
		{"processing", when(t.ProcessingAt)},
		{"finished", when(t.FinishedAt)},
		{"expected", t.Expected.String()},
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

// String tells both times, or nothing.
func (e *expected) String() string {
	if e == nil {
		return ""
	}
	return fmt.Sprintf("half of such tasks end by %s, nine tenths by %s", when(&e.P50), when(&e.P90))
}

func (c *console) printDeliveries(deliveries []taskDelivery) {
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
		return fmt.Sprintf("%s (in %s)", t.Local().Format(time.DateTime), short(d))
	}
	return fmt.Sprintf("%s (%s ago)", t.Local().Format(time.DateTime), ago(*t))
}

func nonTrivial(metadata json.RawMessage) string {
	if string(metadata) == "{}" {
		return ""
	}
	return string(metadata)
}
