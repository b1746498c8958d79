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
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/operate"
)

type trackCommand struct {
	Path           string         `arg:"" help:"Action and action2 that the task was created with: videos/text2video, images/generations, videos/avatar/image2video."`
	IDs            []string       `arg:"" optional:"" name:"id" help:"The provider's task ids; default: read from standard input, separated by white space."`
	CallbackURL    string         `help:"URL that receives the terminal event of each task." placeholder:"URL"`
	CallbackEvents []string       `help:"What else that URL receives: task.submitted, task.processing, task.archived, task.archive_failed." placeholder:"TYPE" predictor:"callback-event"`
	ExternalID     string         `help:"Your own reference; for a single task only." placeholder:"TEXT"`
	Metadata       string         `help:"JSON object that comes back in every webhook." placeholder:"JSON"`
	Archive        *bool          `help:"Keep the files, or do not; default: as the relay and KLINGWATCH_ARCHIVE say." negatable:""`
	Relay          string         `help:"Relay that the tasks are at; default: the one of the service's settings." placeholder:"NAME"`
	Deadline       *time.Duration `help:"Time until the tasks expire; default: KLINGWATCH_TASK_DEADLINE." placeholder:"DURATION"`
	Wait           bool           `help:"Wait until all have ended; exit code 0 only if all succeeded."`
}

// Run tracks all tasks or none.
func (t trackCommand) Run(ctx context.Context, c *console) error {
	action, action2, ok := strings.Cut(t.Path, "/")
	if !ok {
		return fmt.Errorf("%q is not action/action2 like videos/text2video", t.Path)
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
		tasks[i] = db.NewTask{
			Relay: t.Relay, TaskID: id, Action: action, Action2: action2, CallbackURL: optional(t.CallbackURL), ExternalID: optional(t.ExternalID), DeadlineIn: t.Deadline,
			Archive: t.Archive, CallbackEvents: t.CallbackEvents,
		}
		if t.Metadata != "" {
			tasks[i].Metadata = json.RawMessage(t.Metadata)
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
		return nil, t.noID("no task id: give ids, or send them to standard input")
	}
	ids, err := readWords(ctx, c.in)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("reading task ids from standard input: %w", err)
	case len(ids) == 0:
		return nil, t.noID("no task id on standard input")
	}
	return ids, nil
}

// noID says so, and whether the id stands where it does not belong.
func (t trackCommand) noID(what string) error {
	if path, last := t.Path[:strings.LastIndex(t.Path, "/")], t.Path[strings.LastIndex(t.Path, "/")+1:]; strings.Contains(path, "/") && last != "" {
		what += fmt.Sprintf("; if the id is the end of %s, put a space before it: klingwatch track %s %s", t.Path, path, last)
	}
	return errors.New(what)
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
