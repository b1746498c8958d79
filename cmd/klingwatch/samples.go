package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
)

// sample is a task whose end is known beforehand: the simulator goes by the
// words in its id.
type sample struct {
	path   string // action/action2
	words  string // in front of the id
	expect string // status at the end
}

var samples = []sample{
	{"images/generations", "CjMT7WdSwWcAAAAAALvB3g", db.Succeeded}, // the id of the relay's documentation
	{"videos/text2video", "ok", db.Succeeded},
	{"videos/image2video", "newapi", db.Succeeded},
	{"images/kolors-virtual-try-on", "fail", db.Failed},
	{"videos/lip-sync", "throttle", db.Succeeded},
	{"audio/video-to-audio", "ok", db.Succeeded},
	{"videos/text2video", "unknown", db.NotFound},
	{"videos/avatar/image2video", "error500", db.Succeeded},
	{"general/ai-multi-shot", "flat", db.Succeeded},
	{"videos/effects", "garbage", db.Succeeded},
	{"videos/text2video", "never", db.Expired},
	{"images/omni-image", "late", db.Succeeded},
	{"audio/text-to-audio", "weird", db.Succeeded},
	{"videos/video-extend", "fail-newapi", db.Failed},
	{"videos/omni-video", "cut", db.Succeeded},
}

// sampleTask is a sample that was inserted.
type sampleTask struct {
	sample
	id     int64 // ours
	taskID string
}

// insertSamples inserts n tasks as a backend app would.
func insertSamples(ctx context.Context, d *devStack, n int) ([]sampleTask, error) {
	callback := d.receives.URL + callbackPath
	deadline := devDeadline
	inserted, tasks := make([]sampleTask, n), make([]db.NewTask, n)
	for i := range inserted {
		s := samples[i%len(samples)]
		action, action2, _ := strings.Cut(s.path, "/")
		task := db.NewTask{TaskID: s.words, Action: action, Action2: action2, CallbackURL: &callback}
		if i > 0 {
			task.TaskID += "-" + strconv.Itoa(i)
		}
		if s.expect == db.Expired {
			task.DeadlineIn = &deadline
		}
		inserted[i], tasks[i] = sampleTask{sample: s, taskID: task.TaskID}, task
	}
	tracked, err := ledger.Track(ctx, d.database.Pool, tasks)
	if err != nil {
		return nil, fmt.Errorf("inserting the sample tasks: %w", err)
	}
	for i := range inserted {
		inserted[i].id = tracked[i].ID
	}
	return inserted, nil
}

// follow shows the samples' progress until all have ended and every webhook
// has arrived, and reports whether all went as expected.
func (d *devStack) follow(ctx context.Context, c *console, tasks []sampleTask) (good bool, err error) {
	ids := make([]int64, len(tasks))
	for i, t := range tasks {
		ids[i] = t.id
	}
	p := c.newProgress(len(tasks), "")
	begun := time.Now()
	told := map[int64]string{}
	for {
		statuses, err := db.StatusesOf(ctx, d.database.Pool, ids)
		if err != nil {
			return false, err
		}
		ended := 0
		for _, s := range statuses {
			if db.Terminal(s.Status) {
				ended++
			}
			if told[s.ID] != s.Status && db.Terminal(s.Status) {
				told[s.ID] = s.Status
				p.line("%5.1fs  %-28s %s  %s", time.Since(begun).Seconds(), clean(s.TaskID), styleOf(s.Status).Render(s.Status), dimStyle.Render(cut(clean(s.StatusMessage), 80)))
			}
		}
		waiting, err := db.PendingDeliveries(ctx, d.database.Pool)
		if err != nil {
			return false, err
		}
		p.set(ended, fmt.Sprintf("%d of %d tasks ended, %d webhooks verified", ended, len(tasks), d.receiver.verifiedCount()))
		if ended == len(tasks) && waiting == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(progressLook):
		}
	}
	p.end()
	return d.report(ctx, c, tasks)
}

// report compares what happened with what was expected, in one table.
func (d *devStack) report(ctx context.Context, c *console, tasks []sampleTask) (good bool, err error) {
	good = true
	rows := make([][]string, len(tasks))
	for i, t := range tasks {
		found, err := db.FindTasks(ctx, d.database.Pool, t.taskID)
		if err != nil {
			return false, fmt.Errorf("reading sample task %s: %w", t.taskID, err)
		}
		if len(found) != 1 {
			return false, fmt.Errorf("reading sample task %s: there are %d", t.taskID, len(found))
		}
		deliveries, err := db.DeliveriesOfTask(ctx, d.database.Pool, t.id)
		if err != nil {
			return false, err
		}
		verdict := "ok"
		why := d.receiver.check(deliveries, t.id, t.expect)
		if found[0].Status != t.expect {
			why = "expected " + t.expect
		}
		if why != "" {
			verdict, good = "wrong", false
		}
		rows[i] = []string{t.path, t.taskID, found[0].Status, strconv.Itoa(found[0].Polls), strconv.Itoa(len(deliveries)), verdict, why}
	}
	fmt.Fprintln(c.out)
	c.printTable([]string{"PATH", "TASK", "STATUS", "POLLS", "WEBHOOKS", "CHECK", ""}, rows)
	if bad := d.receiver.refusedCount(); bad > 0 {
		fmt.Fprintf(c.out, "%d webhooks had a wrong signature\n", bad)
		good = false
	}
	return good, nil
}
