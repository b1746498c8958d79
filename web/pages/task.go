package pages

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/pages/story"
)

// taskPage is a task with everything that belongs to it.
type taskPage struct {
	shell
	operate.TaskView
	Why      story.Why
	Timeline []story.Moment
	Open     bool // it has not ended
}

func (p *Pages) showTask(v *visit) error {
	page, err := v.taskPage(v.r.Context(), v.r.PathValue("id"), true)
	if err != nil {
		return err
	}
	page.Live = liveAt("task", map[string][]string{"ids": {strconv.FormatInt(page.ID, 10)}})
	if page.Open {
		page.Reload = 10
	}
	return v.render(http.StatusOK, "task", page)
}

// taskPage reads a task that the person meets. Where asked, the process that polls it is
// asked as well.
func (v *visit) taskPage(ctx context.Context, id string, ask bool) (taskPage, error) {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return taskPage{}, db.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, pageLimit)
	defer cancel()
	view, err := v.viewTask(ctx, number, ask)
	if err != nil {
		return taskPage{}, err
	}
	return taskPage{
		shell: v.shell("tasks"), TaskView: view, Why: story.Explain(view), Timeline: story.Timeline(view, v.app() == "", time.Now()), Open: view.FinishedAt == nil,
	}, nil
}

func (v *visit) viewTask(ctx context.Context, id int64, ask bool) (view operate.TaskView, err error) {
	schedules := v.schedules.known(ctx, v.Pool, v.PollInterval)
	if ask {
		view, err = operate.ViewTaskNow(ctx, v.Pool, id, schedules)
	} else {
		var tasks []db.Task
		if tasks, err = db.TasksOf(ctx, v.Pool, []int64{id}); err == nil && len(tasks) == 0 {
			err = db.ErrNotFound
		}
		if err == nil {
			view, err = operate.ViewTask(ctx, v.Pool, tasks[0], schedules)
		}
	}
	if err == nil && v.app() != "" && view.App != v.app() {
		err = db.ErrNotFound
	}
	return view, err
}

// liveTask renders what is live of the page of a task. While a webhook of it is due soon,
// it looks again by itself: deliveries tell nobody.
func (p *Pages) liveTask(ctx context.Context, v *visit, changed []int64) (map[string]string, time.Duration, error) {
	shown := v.shownIDs()
	if len(shown) != 1 {
		return nil, 0, db.ErrNotFound
	}
	if len(among(shown, changed)) == 0 && len(changed) > 0 {
		return nil, 0, nil
	}
	page, err := v.taskPage(ctx, strconv.FormatInt(shown[0], 10), false)
	switch {
	case errors.Is(err, db.ErrNotFound): // it was deleted: the page stays as it was
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	}
	parts := map[string]string{}
	for _, name := range []string{"head", "why", "timeline", "outputs", "facts", "act-cancel", "act-retry"} {
		if parts[name], err = part(v.lang, "task", "part-"+name, page); err != nil {
			return nil, 0, err
		}
	}
	return parts, lookAgain(page.Deliveries, time.Now()), nil
}

// lookAgain is when a delivery's next attempt will have been made; 0: none is due within
// a minute.
func lookAgain(deliveries []operate.TaskDelivery, now time.Time) time.Duration {
	for _, d := range deliveries {
		if d.State == db.DeliveryPending && d.NextAttemptAt != nil && d.NextAttemptAt.Before(now.Add(time.Minute)) {
			return time.Second
		}
	}
	return 0
}

func (p *Pages) cancelTask(v *visit) error {
	return v.act("canceled", func(ctx context.Context, task db.Task) error {
		return operate.Cancel(ctx, p.Pool, task, p.TaskDeadline)
	})
}

func (p *Pages) retryTask(v *visit) error {
	return v.act("retried", func(ctx context.Context, task db.Task) error { return operate.Retry(ctx, p.Pool, task, p.TaskDeadline) })
}

// act does something to the task of the address, if the person meets it.
func (v *visit) act(done string, do func(context.Context, db.Task) error) error {
	id, err := strconv.ParseInt(v.r.PathValue("id"), 10, 64)
	if err != nil {
		return db.ErrNotFound
	}
	tasks, err := db.TasksOf(v.r.Context(), v.Pool, []int64{id})
	if err != nil {
		return err
	}
	if len(tasks) == 0 || v.app() != "" && tasks[0].App != v.app() {
		return db.ErrNotFound
	}
	if err := do(v.r.Context(), tasks[0]); err != nil {
		return err
	}
	return v.redirect(v.back(taskPath(id)), done)
}

// scheduleCache remembers how long tasks run.
type scheduleCache struct {
	mu      sync.Mutex
	learned operate.Schedules
	at      time.Time
}

// relearnAfter is how long that is believed.
const relearnAfter = 5 * time.Minute

// known returns what is known of how long tasks run; what could not be learned is not
// known.
func (c *scheduleCache) known(ctx context.Context, pool *pgxpool.Pool, interval time.Duration) operate.Schedules {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > relearnAfter {
		if learned, err := operate.LearnSchedules(ctx, pool, interval); err == nil {
			c.learned, c.at = learned, time.Now()
		}
	}
	return c.learned
}
