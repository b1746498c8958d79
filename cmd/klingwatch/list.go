package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/klingwatch/klingwatch/db"
)

type listCommand struct {
	Status string `help:"Only tasks with this status." placeholder:"STATUS"`
	Action string `help:"Only tasks of this action, or action/action2." placeholder:"PATH"`
	Limit  int    `help:"Show at most this many, newest first." default:"50"`
	JSON   bool   `help:"Print one JSON object per line."`
}

func (l listCommand) Run(ctx context.Context, c *console) error {
	if l.Status != "" && !slices.Contains(db.Statuses, l.Status) {
		return fmt.Errorf("--status must be one of %s, not %q", strings.Join(db.Statuses, ", "), l.Status)
	}
	if l.Limit < 1 {
		return fmt.Errorf("--limit must be at least 1, not %d", l.Limit)
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		tasks, err := db.ListTasks(ctx, d.Pool, db.TaskFilter{Status: l.Status, Action: l.Action, Limit: l.Limit})
		if err != nil {
			return fmt.Errorf("reading the tasks: %w", err)
		}
		if err := c.hintPaused(ctx, d); err != nil {
			return err
		}
		if l.JSON {
			for _, task := range tasks {
				if err := printJSON(c.out, task); err != nil {
					return err
				}
			}
			return nil
		}
		rows := make([][]string, len(tasks))
		for i, t := range tasks {
			rows[i] = []string{
				strconv.FormatInt(t.ID, 10), t.Action + "/" + t.Action2, t.TaskID, t.Status, ago(t.CreatedAt), strconv.Itoa(t.Polls),
				cut(cmp.Or(t.StatusMessage, deref(t.LastError)), 60),
			}
		}
		c.printTable([]string{"ID", "PATH", "TASK", "STATUS", "AGE", "POLLS", "WHY"}, rows)
		return nil
	})
}
