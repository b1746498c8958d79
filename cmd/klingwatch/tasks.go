package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/lookback"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/readable"
)

type listCommand struct {
	taskChoice
	Cursor int64 `help:"Go on behind this id: what --limit left out." placeholder:"ID"`
	Limit  int   `help:"Show at most this many, newest first." default:"50"`
	Watch  bool  `help:"Go on until stopped: show the list anew on a terminal, and what is new or changed in a pipe."`
	JSON   bool  `help:"Print one JSON object per line."`
}

// watchPause is how often a watched list is read.
const watchPause = 2 * time.Second

// Run lists tasks.
func (l listCommand) Run(ctx context.Context, c *console) error {
	if err := checkListing("--status", l.Status, db.Statuses, l.Limit, l.period); err != nil {
		return err
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := operate.KnowsRelay(ctx, d.Pool, l.Relay); err != nil {
			return err
		}
		if err := c.hintPaused(ctx, d); err != nil {
			return err
		}
		if err := c.hintUnserved(ctx, d); err != nil {
			return err
		}
		seen := map[int64]string{}
		for {
			page, err := l.read(ctx, d)
			if err != nil {
				return err
			}
			if !l.Watch {
				hintMore(c, page)
				if err := l.hintEmpty(ctx, c, d, page); err != nil {
					return err
				}
			}
			if err := l.print(c, page.Items, seen); err != nil || !l.Watch {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(watchPause):
			}
		}
	})
}

// read returns the tasks.
func (l listCommand) read(ctx context.Context, d *database) (db.Page[db.Task], error) {
	return operate.ListTasks(ctx, d.Pool, l.choice(), lookback.Search{Before: l.Cursor, Limit: l.Limit, Within: lookTime})
}

// lookTime is how long a list looks back for what no index finds.
const lookTime = time.Second

// hintMore says where a list goes on, and why it ends where it does.
func hintMore[T any](c *console, page db.Page[T]) {
	switch {
	case page.Cut && len(page.Items) == 0:
		fmt.Fprintf(c.err, "none was found down to %s (id %d), and what is older was not searched: go on with --cursor %d\n", page.Since.Local().Format(time.DateTime), page.Next, page.Next)
	case page.Cut:
		fmt.Fprintf(c.err, "what is older than %s (id %d) was not searched: go on with --cursor %d\n", page.Since.Local().Format(time.DateTime), page.Next, page.Next)
	case page.Next > 0:
		fmt.Fprintf(c.err, "there are more: go on with --cursor %d, or choose by flags\n", page.Next)
	}
}

// print shows a list; of a watched one in a pipe only what has not been seen as it is.
func (l listCommand) print(c *console, tasks []db.Task, seen map[int64]string) error {
	switch whole := !l.JSON && terminal(c.out); {
	case l.Watch && whole:
		fmt.Fprint(c.out, "\x1b[H\x1b[2J") // a clean screen
	case l.Watch:
		tasks = slices.DeleteFunc(tasks, func(t db.Task) bool {
			is, was := t.Status+" "+whyOf(t), seen[t.ID]
			seen[t.ID] = is
			return is == was
		})
		if len(tasks) == 0 {
			return nil
		}
	}
	if l.JSON {
		return printLines(c.out, tasks)
	}
	rows := make([][]string, len(tasks))
	for i, t := range tasks {
		rows[i] = []string{
			strconv.FormatInt(t.ID, 10), t.Relay, t.Action + "/" + t.Action2, t.TaskID, t.Status, ago(t.CreatedAt), strconv.Itoa(t.Polls),
			cut(whyOf(t), 60),
		}
	}
	c.printTable([]string{"ID", "RELAY", "PATH", "TASK", "STATUS", "AGE", "POLLS", "WHY"}, rows)
	return nil
}

func whyOf(t db.Task) string { return cmp.Or(t.StatusMessage, deref(t.LastError)) }

// hintEmpty tells an empty list of a path that there is from that of one that was
// misspelt.
func (l listCommand) hintEmpty(ctx context.Context, c *console, d *database, page db.Page[db.Task]) error {
	if len(page.Items) > 0 || page.Cut || l.Cursor > 0 {
		return nil
	}
	paths, err := db.TrackedPaths(ctx, d.Pool)
	if err != nil {
		return fmt.Errorf("reading the paths of the tasks: %w", err)
	}
	known := slices.ContainsFunc(paths, func(path string) bool {
		return path == l.Action || strings.HasPrefix(path, l.Action+"/") && !strings.Contains(l.Action, "/")
	})
	switch {
	case len(paths) == 0:
		fmt.Fprintln(c.err, "there are no tasks yet")
	case l.Action != "" && !known:
		fmt.Fprintf(c.err, "there are no tasks of %s at all; there are tasks of %s\n", clean(l.Action), strings.Join(paths, ", "))
	default:
		fmt.Fprintln(c.err, "no task is like that")
	}
	return c.hintApp(ctx, d, l.App)
}

// hintApp says so where no role has the name of an app of which nothing was found.
func (c *console) hintApp(ctx context.Context, d *database, app string) error {
	if app == "" {
		return nil
	}
	exists, err := db.RoleExists(ctx, d.Pool, app)
	if err == nil && !exists {
		fmt.Fprintf(c.err, "no role has the name %q: an app is named as the role that it logs in with\n", app)
	}
	return err
}

// checkListing checks what a list is asked for: values that must be among the known
// ones, how many at most, and of when.
func checkListing(flag string, values, known []string, limit int, of period) error {
	for _, value := range values {
		if !slices.Contains(known, value) {
			return fmt.Errorf("%s must be one of %s, not %q", flag, strings.Join(known, ", "), value)
		}
	}
	if limit < 1 {
		return fmt.Errorf("--limit must be at least 1, not %d", limit)
	}
	return of.check()
}

type showCommand struct {
	ID   string `arg:"" help:"The task's id: ours, the provider's or an external one."`
	JSON bool   `help:"Print one JSON object per task."`
}

// Run shows all that is known of the tasks with an id.
func (s showCommand) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(set settings, d *database) error {
		if err := c.hintPaused(ctx, d); err != nil {
			return err
		}
		schedules, err := operate.LearnSchedules(ctx, d.Pool, set.PollInterval)
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(c.err, "the expected end is not known:", clean(err.Error()))
		}
		views, err := operate.ViewTasks(ctx, d.Pool, s.ID, schedules)
		if err != nil {
			return err
		}
		for i, view := range views {
			if s.JSON {
				if err := printJSON(c.out, view); err != nil {
					return err
				}
				continue
			}
			if i > 0 {
				fmt.Fprintln(c.out)
			}
			c.printTask(view, set.TaskDeadline)
		}
		return nil
	})
}

// archiveText is the choice of a task; "" where it leaves it to its relay.
func archiveText(archive *bool) string {
	if archive == nil {
		return ""
	}
	return onOff{&archive}.String()
}

// printTask prints what is known, for people; empty fields are left out.
func (c *console) printTask(t operate.TaskView, deadline time.Duration) {
	for _, field := range []struct{ name, value string }{
		{"task", fmt.Sprintf("%d  %s/%s  %s", t.ID, t.Action, t.Action2, t.TaskID)},
		{"relay", t.Relay},
		{"app", t.App},
		{"status", t.Status},
		{"why", t.StatusMessage},
		{"now", nowText(t)},
		{"ended by", deref(t.EndedBy)},
		{"provider says", deref(t.UpstreamStatus)},
		{"external id", deref(t.ExternalID)},
		{"callback", deref(t.CallbackURL)},
		{"callback for", strings.Join(t.CallbackEvents, ", ")},
		{"keep files", archiveText(t.Archive)},
		{"metadata", nonTrivial(t.Metadata)},
		{"created", when(&t.CreatedAt)},
		{"submitted", when(t.SubmittedAt)},
		{"processing", when(t.ProcessingAt)},
		{"finished", when(t.FinishedAt)},
		{"expected", expectedText(t.Expected)},
		{"deadline", when(deadlineOf(t.Task, deadline))},
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
		if kept := keptText(o.KeptFile); kept != "" {
			fmt.Fprintln(c.out, "  "+kept)
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

// keptText says what is known of the file of an output in the archive; "" where it was not
// asked for.
func keptText(f db.KeptFile) string {
	reason := ""
	if f.ArchiveError != nil {
		reason = ": " + clean(*f.ArchiveError)
	}
	switch deref(f.ArchiveState) {
	case db.ArchiveStored:
		text := fmt.Sprintf("kept since %s: %s, %s", when(f.ArchivedAt), deref(f.ContentType), sizeOf(f.Bytes))
		if f.Width != nil && f.Height != nil {
			text += fmt.Sprintf(", %d x %d", *f.Width, *f.Height)
		}
		return text + "\n  sha256 " + deref(f.SHA256)
	case db.ArchivePending:
		return fmt.Sprintf("not kept yet, tried %s%s", readable.Count(f.ArchiveAttempts, "time", "times"), reason)
	case db.ArchiveLost, db.ArchiveSkipped:
		return *f.ArchiveState + reason
	}
	return ""
}

// nowText says what is going on with a task that has not ended, or is still asked about.
func nowText(t operate.TaskView) string {
	switch {
	case t.Now != nil && t.Now.Asking:
		return t.Now.Instance + " is asking the relay" + answeredText(t.Now)
	case t.Now != nil && t.Now.NextPollAt.Before(time.Now()):
		return fmt.Sprintf("polled by %s, due since %s and waiting for its turn%s", t.Now.Instance, ago(t.Now.NextPollAt), answeredText(t.Now))
	case t.Now != nil && t.Now.AnsweredAt != nil:
		every := t.Now.NextPollAt.Sub(*t.Now.AnsweredAt)
		return fmt.Sprintf("polled by %s, every ~%s%s, next in %s", t.Now.Instance, readable.Duration(every.Round(time.Second)), answeredText(t.Now), readable.Duration(time.Until(t.Now.NextPollAt)))
	case t.Now != nil:
		return fmt.Sprintf("polled by %s, next in %s", t.Now.Instance, readable.Duration(time.Until(t.Now.NextPollAt)))
	case t.PolledBy != nil:
		return deref(t.PolledBy) + " has it, but did not answer: polls are as of the last change"
	case t.NextPollAt != nil && t.NextPollAt.Before(time.Now()):
		return "waits for a klingwatch serve that can ask its relay"
	case t.NextPollAt != nil:
		return "waits for its next poll"
	}
	return ""
}

func answeredText(n *operate.Now) string {
	if n.AnsweredAt == nil {
		return ""
	}
	return fmt.Sprintf(", last asked %s ago", ago(*n.AnsweredAt))
}

// deadlineOf is when a task expires; one that has no deadline of its own gets it with its first
// change.
func deadlineOf(t db.Task, deadline time.Duration) *time.Time {
	if t.DeadlineAt != nil || db.Terminal(t.Status) {
		return t.DeadlineAt
	}
	at := t.CreatedAt.Add(deadline)
	return &at
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
