package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

type trackCommand struct {
	Path        string        `arg:"" help:"Action and action2 that the task was created with: videos/text2video, images/generations, videos/avatar/image2video."`
	IDs         []string      `arg:"" optional:"" name:"id" help:"The provider's task ids; default: read from standard input, separated by white space."`
	CallbackURL string        `help:"URL that receives the terminal event of each task." placeholder:"URL"`
	ExternalID  string        `help:"Your own reference; for a single task only." placeholder:"TEXT"`
	Metadata    string        `help:"JSON object that comes back in every webhook." placeholder:"JSON"`
	Deadline    time.Duration `help:"Time until the tasks expire; default: KLINGWATCH_TASK_DEADLINE." placeholder:"DURATION"`
	Wait        bool          `help:"Wait until all have ended; exit code 0 only if all succeeded."`
}

func (t trackCommand) Run(ctx context.Context, c *console) error {
	action, action2, ok := strings.Cut(t.Path, "/")
	if !ok {
		return fmt.Errorf("%q is not action/action2 like videos/text2video", t.Path)
	}
	if t.Deadline < 0 {
		return fmt.Errorf("--deadline must be more than 0, not %s", t.Deadline)
	}
	if t.CallbackURL != "" {
		if err := webhook.CheckURL(t.CallbackURL); err != nil {
			return fmt.Errorf("--callback-url: %w", err)
		}
	}
	var object map[string]any
	if t.Metadata != "" && (json.Unmarshal([]byte(t.Metadata), &object) != nil || object == nil) {
		return errors.New(`--metadata is not a JSON object like {"user": 42}`)
	}
	ids, err := t.ids(c)
	if err != nil {
		return err
	}
	if t.ExternalID != "" && len(ids) != 1 {
		return fmt.Errorf("--external-id is the reference of one task, but there are %d", len(ids))
	}
	task := db.NewTask{Action: action, Action2: action2, CallbackURL: optional(t.CallbackURL), ExternalID: optional(t.ExternalID)}
	if t.Metadata != "" {
		task.Metadata = json.RawMessage(t.Metadata)
	}
	if t.Deadline > 0 {
		task.DeadlineIn = &t.Deadline
	}
	return withDatabase(ctx, c, func(s settings, d *database) error {
		ours, err := trackAll(ctx, c, d, task, ids)
		if err != nil || !t.Wait {
			return err
		}
		slices.Sort(ours) // an id that was given twice is one task
		return wait(ctx, c, d, slices.Compact(ours))
	})
}

// ids come from the command line, else from standard input.
func (t trackCommand) ids(c *console) ([]string, error) {
	ids := t.IDs
	if len(ids) == 0 {
		if terminal(c.in) {
			return nil, errors.New("no task id: give ids, or send them to standard input")
		}
		scanner := bufio.NewScanner(c.in)
		scanner.Split(bufio.ScanWords)
		for scanner.Scan() {
			ids = append(ids, scanner.Text())
		}
		if err := scanner.Err(); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading task ids from standard input: %w", err)
		}
	}
	if len(ids) == 0 {
		return nil, errors.New("no task id on standard input")
	}
	return ids, nil
}

// trackAll inserts all tasks or none and returns our ids.
func trackAll(ctx context.Context, c *console, d *database, task db.NewTask, ids []string) ([]int64, error) {
	tasks := make([]db.NewTask, len(ids))
	for i, id := range ids {
		tasks[i] = task
		tasks[i].TaskID = id
	}
	tracked, err := ledger.Track(ctx, d.Pool, tasks)
	if err != nil {
		return nil, refusal(err)
	}
	ours := make([]int64, len(ids))
	for i, id := range ids {
		note := ""
		if !tracked[i].Added {
			note = "\ttracked already"
		}
		ours[i] = tracked[i].ID
		fmt.Fprintf(c.out, "%d\t%s%s\n", tracked[i].ID, id, note)
	}
	return ours, c.hintIdle(ctx, d)
}

// refusal turns a violated constraint, whose name is a sentence, into an error.
func refusal(err error) error {
	refused, isRefusal := errors.AsType[*ledger.RefusedError](err)
	pgErr, isPg := errors.AsType[*pgconn.PgError](err)
	if isRefusal && isPg && pgErr.ConstraintName != "" {
		return fmt.Errorf("task %q was refused, nothing was tracked: %s", refused.TaskID, pgErr.ConstraintName)
	}
	return err
}

// waitInterval is how often a waiting command looks.
const waitInterval = 250 * time.Millisecond

// wait follows tasks until all are terminal.
func wait(ctx context.Context, c *console, d *database, ids []int64) error {
	p := c.newProgress(len(ids), "waiting")
	defer p.end()
	told := map[int64]bool{}
	succeeded := 0
	for {
		tasks, err := db.StatusesOf(ctx, d.Pool, ids)
		if err != nil {
			return fmt.Errorf("reading the tasks: %w", err)
		}
		for _, task := range tasks {
			if told[task.ID] || !db.Terminal(task.Status) {
				continue
			}
			told[task.ID] = true
			if task.Status == db.Succeeded {
				succeeded++
			}
			p.line("%d %s %s %s", task.ID, clean(task.TaskID), styleOf(task.Status).Render(task.Status), clean(task.StatusMessage))
		}
		for _, id := range deleted(ids, tasks) {
			if !told[id] {
				told[id] = true
				p.line("%d was deleted", id)
			}
		}
		p.set(len(told), fmt.Sprintf("%d of %d ended", len(told), len(ids)))
		if len(told) == len(ids) {
			if succeeded < len(ids) {
				p.line("%d of %d succeeded", succeeded, len(ids))
				return quietError{}
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(waitInterval):
		}
	}
}

// deleted returns the ids without a row.
func deleted(ids []int64, tasks []db.TaskStatus) []int64 {
	return slices.DeleteFunc(slices.Clone(ids), func(id int64) bool {
		return slices.ContainsFunc(tasks, func(t db.TaskStatus) bool { return t.ID == id })
	})
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
