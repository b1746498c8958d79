package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/operate"
)

type trackCommand struct {
	Path        string        `arg:"" help:"Action and action2 that the task was created with: videos/text2video, images/generations, videos/avatar/image2video."`
	IDs         []string      `arg:"" optional:"" name:"id" help:"The provider's task ids; default: read from standard input, separated by white space."`
	CallbackURL string        `help:"URL that receives the terminal event of each task." placeholder:"URL"`
	ExternalID  string        `help:"Your own reference; for a single task only." placeholder:"TEXT"`
	Metadata    string        `help:"JSON object that comes back in every webhook." placeholder:"JSON"`
	Relay       string        `help:"Relay that the tasks are at; default: the one of the service's settings." placeholder:"NAME"`
	Deadline    time.Duration `help:"Time until the tasks expire; default: KLINGWATCH_TASK_DEADLINE." placeholder:"DURATION"`
	Wait        bool          `help:"Wait until all have ended; exit code 0 only if all succeeded."`
}

// Run tracks all tasks or none.
func (t trackCommand) Run(ctx context.Context, c *console) error {
	action, action2, ok := strings.Cut(t.Path, "/")
	if !ok {
		return fmt.Errorf("%q is not action/action2 like videos/text2video", t.Path)
	}
	if t.Deadline < 0 {
		return fmt.Errorf("--deadline must be more than 0, not %s", t.Deadline)
	}
	ids, err := t.ids(ctx, c)
	if err != nil {
		return err
	}
	if t.ExternalID != "" && len(ids) != 1 {
		return fmt.Errorf("--external-id is the reference of one task, but there are %d", len(ids))
	}
	tasks := make([]db.NewTask, len(ids))
	for i, id := range ids {
		tasks[i] = db.NewTask{Relay: t.Relay, TaskID: id, Action: action, Action2: action2, CallbackURL: optional(t.CallbackURL), ExternalID: optional(t.ExternalID)}
		if t.Metadata != "" {
			tasks[i].Metadata = json.RawMessage(t.Metadata)
		}
		if t.Deadline > 0 {
			tasks[i].DeadlineIn = &t.Deadline
		}
	}
	if err := operate.CheckTasks(tasks); err != nil {
		return err
	}
	return withDatabase(ctx, c, func(s settings, d *database) error {
		t.hintPath(ctx, c, s, d, klingapi.Ref{Action: action, Action2: action2})
		ours, err := trackAll(ctx, c, d, tasks)
		if err != nil || !t.Wait {
			return err
		}
		return wait(ctx, c, d, ours)
	})
}

// hintPath says so where nobody documents a path: it is often a typing error.
func (t trackCommand) hintPath(ctx context.Context, c *console, s settings, d *database, ref klingapi.Ref) {
	form := s.taskPath()
	if row, err := db.GetRelay(ctx, d.Pool, cmp.Or(t.Relay, db.DefaultRelay)); err == nil {
		form = row.TaskPath
	}
	if strings.Contains(form, "{action") && !ref.IsDocumented() {
		fmt.Fprintf(c.err, "nobody documents the path %s: the tasks are polled all the same, but check the spelling\n", clean(t.Path))
	}
}

// ids come from the command line, else from standard input.
func (t trackCommand) ids(ctx context.Context, c *console) ([]string, error) {
	if len(t.IDs) > 0 {
		return t.IDs, nil
	}
	if terminal(c.in) {
		return nil, errors.New("no task id: give ids, or send them to standard input")
	}
	ids, err := readWords(ctx, c.in)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("reading task ids from standard input: %w", err)
	case len(ids) == 0:
		return nil, errors.New("no task id on standard input")
	}
	return ids, nil
}

// readWords reads words that white space separates, until the end of r or of ctx:
// then it leaves a read behind that nothing could end.
func readWords(ctx context.Context, r io.Reader) ([]string, error) {
	type result struct {
		words []string
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var read result
		scanner := bufio.NewScanner(r)
		scanner.Split(bufio.ScanWords)
		for scanner.Scan() {
			read.words = append(read.words, scanner.Text())
		}
		read.err = scanner.Err()
		done <- read
	}()
	select {
	case read := <-done:
		return read.words, read.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// trackAll inserts all tasks or none, prints what became of each and returns our
// ids.
func trackAll(ctx context.Context, c *console, d *database, tasks []db.NewTask) ([]int64, error) {
	tracked, err := operate.Track(ctx, d.Pool, tasks)
	if err != nil {
		return nil, err
	}
	ours := make([]int64, len(tracked))
	for i, t := range tracked {
		note := ""
		if !t.Added {
			note = "\ttracked already"
		}
		ours[i] = t.ID
		fmt.Fprintf(c.out, "%d\t%s%s\n", t.ID, clean(tasks[i].TaskID), note)
	}
	return ours, c.hintIdle(ctx, d)
}

// wait follows tasks until all are terminal.
func wait(ctx context.Context, c *console, d *database, ids []int64) error {
	ids = slices.Compact(slices.Sorted(slices.Values(ids))) // an id that was given twice is one task
	p := c.newProgress(len(ids), "waiting")
	defer p.end()
	ended, succeeded := 0, 0
	p.set(0, fmt.Sprintf("0 of %d ended", len(ids)))
	err := operate.Wait(ctx, d.Pool, ids, func(task db.TaskStatus) {
		ended++
		switch task.Status {
		case "":
			p.line("%d was deleted", task.ID)
		case db.Succeeded:
			succeeded++
			fallthrough
		default:
			p.line("%d %s %s %s", task.ID, clean(task.TaskID), styleOf(task.Status).Render(task.Status), clean(task.StatusMessage))
		}
		p.set(ended, fmt.Sprintf("%d of %d ended", ended, len(ids)))
	})
	if err == nil && succeeded < len(ids) {
		p.line("%d of %d succeeded", succeeded, len(ids))
		err = quietError{}
	}
	return err
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

type listCommand struct {
	Status string `help:"Only tasks with this status." placeholder:"STATUS"`
	Action string `help:"Only tasks of this action, or action/action2." placeholder:"PATH"`
	Relay  string `help:"Only tasks at this relay." placeholder:"NAME"`
	Limit  int    `help:"Show at most this many, newest first." default:"50"`
	JSON   bool   `help:"Print one JSON object per line."`
}

// Run lists tasks.
func (l listCommand) Run(ctx context.Context, c *console) error {
	if err := checkListing("--status", l.Status, db.Statuses, l.Limit); err != nil {
		return err
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if l.Relay != "" && l.Relay != db.DefaultRelay {
			if _, err := operate.GetRelay(ctx, d.Pool, l.Relay); err != nil {
				return err
			}
		}
		tasks, err := db.ListTasks(ctx, d.Pool, db.TaskFilter{Status: l.Status, Action: l.Action, Relay: l.Relay, Limit: l.Limit})
		if err != nil {
			return fmt.Errorf("reading the tasks: %w", err)
		}
		if err := c.hintPaused(ctx, d); err != nil {
			return err
		}
		if err := c.hintUnserved(ctx, d); err != nil {
			return err
		}
		if l.JSON {
			return printLines(c.out, tasks)
		}
		rows := make([][]string, len(tasks))
		for i, t := range tasks {
			rows[i] = []string{
				strconv.FormatInt(t.ID, 10), t.Relay, t.Action + "/" + t.Action2, t.TaskID, t.Status, ago(t.CreatedAt), strconv.Itoa(t.Polls),
				cut(cmp.Or(t.StatusMessage, deref(t.LastError)), 60),
			}
		}
		c.printTable([]string{"ID", "RELAY", "PATH", "TASK", "STATUS", "AGE", "POLLS", "WHY"}, rows)
		return nil
	})
}

// checkListing checks what a list is asked for: a value that must be one of the known
// ones or "", and how many at most.
func checkListing(flag, value string, known []string, limit int) error {
	if value != "" && !slices.Contains(known, value) {
		return fmt.Errorf("%s must be one of %s, not %q", flag, strings.Join(known, ", "), value)
	}
	if limit < 1 {
		return fmt.Errorf("--limit must be at least 1, not %d", limit)
	}
	return nil
}

type retryCommand struct {
	ID string `arg:"" help:"The task's id: ours or the provider's."`
}

// Run asks again at once about a task that has ended.
func (r retryCommand) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(s settings, d *database) error {
		task, err := operate.FindTask(ctx, d.Pool, r.ID)
		if err != nil {
			return err
		}
		if err := operate.Retry(ctx, d.Pool, task, s.TaskDeadline); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "task %d (%s) is asked again\n", task.ID, clean(task.TaskID))
		return c.hintIdle(ctx, d)
	})
}

type cancelCommand struct {
	ID string `arg:"" help:"The task's id: ours or the provider's."`
}

// Run stops tracking a task; the provider goes on with it.
func (r cancelCommand) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(s settings, d *database) error {
		task, err := operate.FindTask(ctx, d.Pool, r.ID)
		if err != nil {
			return err
		}
		if err := operate.Cancel(ctx, d.Pool, task, s.TaskDeadline); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "task %d (%s) is not tracked any more; the provider may still finish and charge it\n", task.ID, clean(task.TaskID))
		return nil
	})
}

// hintIdle says so when nobody works on the database.
func (c *console) hintIdle(ctx context.Context, d *database) error {
	n, err := operate.Processes(ctx, d.Pool)
	if err == nil && n == 0 {
		fmt.Fprintln(c.err, "no klingwatch serve is working on this database now; tasks and webhooks wait until one does")
	}
	return err
}

// hintPaused says that, and why, polling is paused.
func (c *console) hintPaused(ctx context.Context, d *database) error {
	paused, err := d.paused(ctx)
	for _, reason := range paused {
		fmt.Fprintln(c.err, reason)
	}
	return err
}

// hintUnserved names the paths whose answers are not a relay's.
func (c *console) hintUnserved(ctx context.Context, d *database) error {
	paths, err := operate.UnservedPaths(ctx, d.Pool)
	for _, p := range paths {
		fmt.Fprintf(c.err, "%d open tasks of %s/%s at the relay %s get no answer of a relay: %s; check its address and path: klingwatch relays check %s\n",
			p.Tasks, p.Action, p.Action2, p.Relay, clean(cut(p.Error, 120)), p.Relay)
	}
	return err
}

// paused says which relays are paused, and why.
func (d *database) paused(ctx context.Context) (lines []string, err error) {
	pauses, err := operate.Pauses(ctx, d.Pool)
	for _, p := range pauses {
		lines = append(lines, fmt.Sprintf("polling is paused since %s at the relay %s: it refuses the credential %s: %s; the next probe is at %s",
			when(&p.PausedAt), strings.Join(p.Relays, ", "), p.Credential, clean(p.Reason), when(&p.ProbeAt)))
	}
	return lines, err
}
