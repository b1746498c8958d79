package pages

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

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

func (v *visit) viewTask(ctx context.Context, id int64, ask bool) (operate.TaskView, error) {
	task, err := v.task(ctx, id)
	if err != nil {
		return operate.TaskView{}, err
	}
	schedules := v.knownSchedules(ctx)
	if ask {
		return operate.ViewTaskNow(ctx, v.Pool, task, schedules)
	}
	return operate.ViewTask(ctx, v.Pool, task, schedules)
}

// task is a task that the person meets, or db.ErrNotFound.
func (v *visit) task(ctx context.Context, id int64) (db.Task, error) {
	tasks, err := db.TasksOf(ctx, v.Pool, []int64{id})
	switch {
	case err != nil:
		return db.Task{}, err
	case len(tasks) == 0, v.app() != "" && tasks[0].App != v.app():
		return db.Task{}, db.ErrNotFound
	}
	return tasks[0], nil
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
	deliveries := make([]db.Delivery, len(page.Deliveries))
	for i, d := range page.Deliveries {
		deliveries[i] = d.Delivery
	}
	return parts, againWhenDue(time.Now(), deliveries...), nil
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
	task, err := v.task(v.r.Context(), id)
	if err != nil {
		return err
	}
	if err := do(v.r.Context(), task); err != nil {
		return err
	}
	return v.redirect(v.back(taskPath(id)), done)
}

// relearnAfter is how long it is believed how long tasks run.
const relearnAfter = 5 * time.Minute

// knownSchedules are what is known of how long tasks run; what could not be learned is not
// known.
func (v *visit) knownSchedules(ctx context.Context) operate.Schedules {
	known, _, err := v.schedules.Get(ctx, "", func(ctx context.Context) (operate.Schedules, error) {
		return operate.LearnSchedules(ctx, v.Pool, v.PollInterval)
	})
	if err != nil {
		v.Log.Warn("a page does not know how long tasks run", "error", err)
	}
	return known
}
