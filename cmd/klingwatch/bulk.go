package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/readable"
)

// taskFlags choose tasks by what apps gave them and by their statuses, or deliveries by
// their tasks.
type taskFlags struct {
	Status []string `help:"Only tasks with these statuses." placeholder:"STATUS" predictor:"status"`
	givenFlags
}

// givenFlags choose tasks by what apps gave them.
type givenFlags struct {
	Action     string            `help:"Only tasks of this action, or action/action2." placeholder:"PATH"`
	Relay      string            `help:"Only tasks at this relay." placeholder:"NAME"`
	App        string            `help:"Only tasks of this app, the role that inserted them." placeholder:"ROLE"`
	ExternalID string            `help:"Only tasks with this external id." placeholder:"TEXT"`
	Metadata   map[string]string `help:"Only tasks with this value in their metadata; may be repeated." placeholder:"KEY=VALUE"`
}

// period chooses by time.
type period struct {
	Since moment `help:"Only what was created since this time: 2h, 7d, 2026-11-23 or 2026-11-23T08:00:00Z." placeholder:"WHEN"`
	Until moment `help:"Only what was created before this time." placeholder:"WHEN"`
}

// check refuses a period that nothing can be in.
func (p period) check() error {
	if !p.Until.IsZero() && !p.Until.After(p.Since.Time) {
		return errors.New("--until must be later than --since")
	}
	return nil
}

// taskChoice is all that chooses tasks.
type taskChoice struct {
	taskFlags
	period
	Error   string `help:"Only tasks with this in their reason, error code or last error." placeholder:"TEXT"`
	Overdue bool   `help:"Only open tasks that should have been asked about, or have ended, by now."`
}

func (f taskFlags) choice() db.TaskChoice {
	c := f.givenFlags.choice()
	c.Statuses = f.Status
	return c
}

func (f givenFlags) choice() db.TaskChoice {
	return db.TaskChoice{Path: f.Action, Relay: f.Relay, App: f.App, ExternalID: f.ExternalID, Metadata: f.Metadata}
}

func (f taskChoice) choice() db.TaskChoice {
	c := f.taskFlags.choice()
	c.Error, c.Overdue, c.Since, c.Until = f.Error, f.Overdue, f.Since.Time, f.Until.Time
	return c
}

// deliveryChoice is all that chooses deliveries.
type deliveryChoice struct {
	taskFlags
	period
	Endpoint *int64   `help:"Only deliveries to this endpoint." placeholder:"ID"`
	State    []string `help:"Only deliveries in these states: pending, delivered, exhausted, canceled." placeholder:"STATE" predictor:"state"`
	Error    string   `help:"Only deliveries with this in their last error." placeholder:"TEXT"`
}

func (f deliveryChoice) choice() db.DeliveryChoice {
	return db.DeliveryChoice{States: f.State, Endpoint: f.Endpoint, Since: f.Since.Time, Until: f.Until.Time, Error: f.Error, Tasks: f.taskFlags.choice()}
}

// bulkFlags say how something is done to many.
type bulkFlags struct {
	DryRun    bool `help:"Only tell how many there are."`
	Yes       bool `short:"y" help:"Do not ask."`
	PerSecond *int `help:"How many to change per second; default: 50 deliveries, or as many tasks as polls and webhooks leave room for." placeholder:"N"`
	Wait      bool `help:"Wait until all are done, and show the progress."`
}

// perSecond is the pace, or the usual one; 0: none.
func (f bulkFlags) perSecond(usual int) int {
	if f.PerSecond == nil {
		return usual
	}
	return *f.PerSecond
}

// checkOne refuses for one what only many can have.
func (f bulkFlags) checkOne() error {
	if f.Wait || f.PerSecond != nil {
		return errors.New("--wait and --per-second are for many, chosen by flags: what is asked of one is done when the command ends")
	}
	return nil
}

// bulkWords are what people read about an action: of one, of many, and after "is" or "are".
var bulkWords = map[string]struct{ thing, things, question, done string }{
	db.BulkRedeliver: {"delivery", "deliveries", "send them again", "due"},
	db.BulkRetry:     {"task", "tasks", "ask about them again", "asked about again"},
	db.BulkCancel:    {"task", "tasks", "stop tracking them", "not tracked any more"},
	db.BulkArchive:   {"task", "tasks", "keep their files", "asked for files"},
}

// run counts, asks and begins. Nobody is asked who may not begin it.
func (f bulkFlags) run(ctx context.Context, c *console, d *database, bulk operate.Bulk) error {
	if may, err := db.MayBeginBulk(ctx, d.Pool); err != nil || !may && !f.DryRun {
		return cmp.Or(err, c.mayNot(d, "begin a bulk action"))
	}
	n, err := operate.CountBulk(ctx, d.Pool, bulk)
	if err != nil {
		return err
	}
	words := bulkWords[bulk.Action]
	fmt.Fprintln(c.out, readable.Count(n, words.thing+" is", words.things+" are"), "chosen")
	if n == 0 {
		return c.hintApp(ctx, d, cmp.Or(bulk.Tasks.App, bulk.Deliveries.Tasks.App))
	}
	if f.DryRun {
		return nil
	}
	if err := c.confirm(ctx, f.Yes, words.question); err != nil {
		return err
	}
	begun, err := operate.BeginBulk(ctx, d.Pool, bulk)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "bulk action %d: %s %s, %s; see klingwatch bulk list\n", begun.ID, begun.Action, readable.Count(begun.Matched, words.thing, words.things), paceOf(begun))
	if err := c.hintIdle(ctx, d); err != nil || !f.Wait {
		return err
	}
	return c.followBulk(ctx, d, begun)
}

// paceOf says how fast a bulk action is.
func paceOf(b db.Bulk) string {
	if !b.Paced {
		return "as fast as polls allow"
	}
	return fmt.Sprintf("%d per second", b.PerSecond)
}

// progressLook is how often a command looks at the progress of others.
const progressLook = 250 * time.Millisecond

// followBulk waits until a running service has done it to all of them.
func (c *console) followBulk(ctx context.Context, d *database, bulk db.Bulk) error {
	words := bulkWords[bulk.Action]
	p := c.newProgress(int(bulk.Matched), bulk.Action)
	defer p.end()
	for {
		now, err := operate.ViewBulk(ctx, d.Pool, bulk.ID)
		if err != nil {
			return err
		}
		p.set(int(now.Done), fmt.Sprintf("%d of %d are %s", now.Done, bulk.Matched, words.done))
		switch now.State {
		case db.BulkFinished:
			p.line("%s %s", readable.Count(now.Done, words.thing+" is", words.things+" are"), words.done)
			return nil
		case db.BulkStopped:
			p.line("bulk action %d was stopped: %d of %d are %s", now.ID, now.Done, now.Matched, words.done)
			return quietError{}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(progressLook):
		}
	}
}

type retryCommand struct {
	ID string `arg:"" optional:"" help:"The task's id: ours, the provider's or an external one. Or choose many by flags: those that failed, expired or were not found, unless --status says others."`
	taskChoice
	bulkFlags
}

// Run asks again at once about a task that has ended, or about many.
func (r retryCommand) Run(ctx context.Context, c *console) error {
	return oneOrMany(ctx, c, r.ID, r.taskChoice, r.bulkFlags, db.BulkRetry, func(s settings, d *database, task db.Task) error {
		if err := operate.Retry(ctx, d.Pool, task, s.TaskDeadline); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "task %d (%s) is asked again\n", task.ID, clean(task.TaskID))
		return c.hintIdle(ctx, d)
	})
}

type cancelCommand struct {
	ID string `arg:"" optional:"" help:"The task's id: ours, the provider's or an external one. Or choose many open ones by flags."`
	taskChoice
	bulkFlags
}

// Run stops tracking a task, or many; the provider goes on with them.
func (r cancelCommand) Run(ctx context.Context, c *console) error {
	return oneOrMany(ctx, c, r.ID, r.taskChoice, r.bulkFlags, db.BulkCancel, func(s settings, d *database, task db.Task) error {
		if err := operate.Cancel(ctx, d.Pool, task, s.TaskDeadline); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "task %d (%s) is not tracked any more; the provider may still finish and charge it\n", task.ID, clean(task.TaskID))
		return nil
	})
}

type outputsArchive struct {
	givenFlags
	period
	bulkFlags
}

// Run has the files of tasks kept that succeeded before keeping was switched on, or whose
// files were lost.
func (x outputsArchive) Run(ctx context.Context, c *console) error {
	bulk := operate.Bulk{Action: db.BulkArchive, Tasks: x.choice(), PerSecond: x.perSecond(0)}
	bulk.Tasks.Since, bulk.Tasks.Until = x.Since.Time, x.Until.Time
	if err := x.checkChoice(false, !bulk.Tasks.ChoosesAll(), bulk, "", "choose whose files to keep by flags, like --since and --relay"); err != nil {
		return err
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := c.hintUnkept(ctx, d); err != nil {
			return err
		}
		return x.run(ctx, c, d, bulk)
	})
}

// hintUnkept says so when services work on the database, but none keeps files. Not every
// role may know.
func (c *console) hintUnkept(ctx context.Context, d *database) error {
	n, err := operate.Processes(ctx, d.Pool)
	if err != nil || n == 0 { // hintIdle says that
		return err
	}
	kept, err := db.FilesAreKept(ctx, d.Pool)
	if db.Denied(err) {
		return nil
	}
	if err == nil && !kept {
		fmt.Fprintln(c.err, "no klingwatch serve keeps files now, since KLINGWATCH_ARCHIVE is empty: the files wait until one does, and expire meanwhile")
	}
	return err
}

// checkChoice refuses a command that names one and chooses many (both), does neither, or
// does one of them in a way that cannot be.
func (f bulkFlags) checkChoice(one, many bool, bulk operate.Bulk, both, neither string) error {
	switch {
	case one && many:
		return errors.New(both)
	case one:
		return f.checkOne()
	case !many:
		return errors.New(neither)
	}
	return bulk.Check()
}

// oneOrMany does something to the task with an id, or to those that the flags choose.
func oneOrMany(ctx context.Context, c *console, id string, flags taskChoice, how bulkFlags, action string, one func(settings, *database, db.Task) error) error {
	bulk := operate.Bulk{Action: action, Tasks: flags.choice(), PerSecond: how.perSecond(0)}
	if err := how.checkChoice(id != "", !bulk.Tasks.ChoosesAll(), bulk,
		"give either the id of one task or flags that choose many",
		fmt.Sprintf("choose what to %s: the id of a task, or flags like --action and --since", action)); err != nil {
		return err
	}
	return withDatabase(ctx, c, func(s settings, d *database) error {
		if id == "" {
			return how.run(ctx, c, d, bulk)
		}
		task, err := operate.FindTask(ctx, d.Pool, id)
		if err != nil {
			return err
		}
		if how.DryRun {
			return tellTask(ctx, c, d, action, task)
		}
		return one(s, d, task)
	})
}

// tellTask tells of the one task that an action would change, or why it would not.
func tellTask(ctx context.Context, c *console, d *database, action string, task db.Task) error {
	if err := operate.CheckTask(ctx, d.Pool, action, task); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "task %d (%s) is chosen, which is %s\n", task.ID, clean(task.TaskID), task.Status)
	return nil
}

type deliveriesRedeliver struct {
	ID int64 `arg:"" optional:"" help:"Number of one delivery. Or choose many by flags: exhausted ones, unless --state says others."`
	deliveryChoice
	bulkFlags
}

// Run makes one delivery due, or begins a bulk redelivery, which a running
// service works off.
func (r deliveriesRedeliver) Run(ctx context.Context, c *console) error {
	bulk := operate.Bulk{Action: db.BulkRedeliver, Deliveries: r.choice(), PerSecond: r.perSecond(operate.DefaultPerSecond)}
	if err := r.checkChoice(r.ID != 0, !bulk.Deliveries.ChoosesAll(), bulk,
		"give either the number of one delivery or flags that choose many",
		"choose what to send again: the number of a delivery, or flags like --endpoint and --since"); err != nil {
		return err
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if r.ID == 0 {
			return r.run(ctx, c, d, bulk)
		}
		if r.DryRun {
			return tellDelivery(ctx, c, d, r.ID)
		}
		return redeliverOne(ctx, c, d, r.ID)
	})
}

// tellDelivery tells of the one delivery that would be sent again.
func tellDelivery(ctx context.Context, c *console, d *database, id int64) error {
	delivery, err := operate.GetDelivery(ctx, d.Pool, id)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "delivery %d is chosen, which is %s, to %s\n", id, delivery.State, clean(delivery.URL))
	return nil
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

type bulkCommand struct {
	List bulkList `cmd:"" may:"klingwatch_reader or klingwatch_operator" help:"List bulk actions with their progress, newest first."`
	Stop bulkStop `cmd:"" may:"klingwatch_operator" help:"Stop a bulk action; what is done stays done."`
}

type bulkStop struct {
	ID int64 `arg:"" help:"Number of the bulk action."`
}

// Run stops a bulk action.
func (x bulkStop) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := operate.StopBulk(ctx, d.Pool, x.ID); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "bulk action %d is stopped; what is done stays done\n", x.ID)
		return nil
	})
}

type bulkList struct {
	ID    int64 `arg:"" optional:"" help:"Number of one bulk action."`
	Limit int   `help:"Show at most this many." default:"20"`
	JSON  bool  `help:"Print one JSON object per line."`
}

// read returns the one that is named, or the newest.
func (x bulkList) read(ctx context.Context, d *database) ([]db.Bulk, error) {
	if x.ID != 0 {
		bulk, err := operate.ViewBulk(ctx, d.Pool, x.ID)
		return []db.Bulk{bulk}, err
	}
	list, err := db.ListBulks(ctx, d.Pool, 0, 0, x.Limit)
	if err != nil {
		return nil, fmt.Errorf("reading the bulk actions: %w", err)
	}
	return list, nil
}

// Run lists bulk actions.
func (x bulkList) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		list, err := x.read(ctx, d)
		if err != nil {
			return err
		}
		if x.JSON {
			return printLines(c.out, list)
		}
		var rows [][]string
		for _, b := range list {
			endpoint, since := "", ""
			if b.Endpoint != nil {
				endpoint = strconv.FormatInt(*b.Endpoint, 10)
			}
			if b.Since != nil {
				since = b.Since.Local().Format(time.DateTime)
			}
			rows = append(rows, []string{
				strconv.FormatInt(b.ID, 10), b.Action, strings.ReplaceAll(b.State, "_", " "), fmt.Sprintf("%d of %d", b.Done, b.Matched), paceOf(b), strings.Join(b.States, ","),
				endpoint, since, b.Until.Local().Format(time.DateTime), nonTrivial(b.Filter),
			})
		}
		c.printTable([]string{"ID", "ACTION", "STATE", "DONE", "PACE", "STATES", "ENDPOINT", "SINCE", "UNTIL", "FILTER"}, rows)
		return nil
	})
}
