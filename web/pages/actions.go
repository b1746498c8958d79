package pages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/lookback"
	"github.com/klingwatch/klingwatch/operate"
)

// sampleSize is how many of those that an action is about are shown before it begins.
const sampleSize = 5

// bulkActions are what can be done to many.
var bulkActions = []string{db.BulkCancel, db.BulkRetry, db.BulkArchive, db.BulkRedeliver}

// wish is what a person wants done to many: to chosen tasks, or to all that a filter finds.
type wish struct {
	Do         string
	IDs        []int64        // chosen tasks; none: all that the filter finds
	Tasks      taskFilter     // of tasks
	Deliveries deliveryFilter // of deliveries, to send again
}

func (v *visit) readWish(form url.Values) (w wish, err error) {
	w = wish{Do: form.Get("do"), Tasks: readTaskFilter(form), Deliveries: readDeliveryFilter(form)}
	if !slices.Contains(bulkActions, w.Do) {
		return w, &refusal{http.StatusUnprocessableEntity, "error.invalid"}
	}
	for _, text := range form["ids"] {
		id, err := readNumber(text)
		if err != nil || len(w.IDs) >= maxShown {
			return w, &refusal{http.StatusUnprocessableEntity, "error.invalid"}
		}
		w.IDs = append(w.IDs, id)
	}
	if w.Tasks.Query != "" && len(w.IDs) == 0 && !w.Redelivers() { // the list shows the tasks with an id
		tasks, err := v.tasksWithID(v.r.Context(), w.Tasks.Query)
		if err != nil || len(tasks) == 0 || len(tasks) > maxShown {
			return w, cmp.Or(err, error(&refusal{http.StatusUnprocessableEntity, "error.choose_something"}))
		}
		for _, task := range tasks {
			w.IDs = append(w.IDs, task.ID)
		}
	}
	return w, nil
}

// Redelivers tells whether it is about deliveries, not tasks.
func (w wish) Redelivers() bool { return w.Do == db.BulkRedeliver }

// Values carry the wish from one form to the next.
func (w wish) Values() url.Values {
	query := w.Tasks.Values()
	if w.Redelivers() {
		query = w.Deliveries.Values()
	}
	for _, id := range w.IDs {
		query.Add("ids", strconv.FormatInt(id, 10))
	}
	query.Set("do", w.Do)
	return query
}

// From is the list that the wish came from.
func (w wish) From() string {
	if w.Redelivers() {
		return address("/deliveries", w.Deliveries.Values())
	}
	return address("/tasks", w.Tasks.Values())
}

// bulk is the wish as a bulk action. Of the statuses that the list was filtered by, those
// count that the action can change; none says that there are none.
func (w wish) bulk(app string) (b operate.Bulk, none bool, err error) {
	b.Action = w.Do
	if w.Redelivers() {
		if app != "" {
			return b, false, &refusal{http.StatusForbidden, "error.app"}
		}
		// a process of the version before would not know these, and send more
		if w.Deliveries.Type != "" || w.Deliveries.Receiver == toCallbacks {
			return b, false, &refusal{http.StatusUnprocessableEntity, "error.redeliver_filter"}
		}
		b.PerSecond = operate.DefaultPerSecond
		b.Deliveries, err = w.Deliveries.choice()
		b.Deliveries.States, none = narrow(b.Deliveries.States, w.Do)
		return b, none, err
	}
	b.Tasks, err = w.Tasks.choice(app)
	b.Tasks.Statuses, none = narrow(b.Tasks.Statuses, w.Do)
	return b, none, err
}

// narrow returns those of the wanted that an action can change, and whether it is none of
// them.
func narrow(wanted []string, action string) (possible []string, none bool) {
	for _, status := range wanted {
		if slices.Contains(operate.Possible(action), status) {
			possible = append(possible, status)
		}
	}
	return possible, len(wanted) > 0 && len(possible) == 0
}

// confirmPage asks whether a wish is meant.
type confirmPage struct {
	shell
	wish
	Matched int64 // what it would change
	Counted bool  // false: counting took too long
	Changed bool  // it was confirmed, but is another number by now
	All     bool  // it would be done to everything: a time must be chosen
	Sample  []db.Task
	Sent    []db.Delivery // the sample of deliveries
}

// Sinces are times to choose where nothing else is chosen.
func (confirmPage) Sinces() []string { return []string{"1h", "24h", "7d", "30d"} }

func (p *Pages) confirmAction(v *visit) error {
	w, err := v.readWish(v.r.URL.Query())
	if err != nil {
		return err
	}
	return v.confirm(http.StatusOK, w, false)
}

func (v *visit) confirm(status int, w wish, changed bool) (err error) {
	ctx, cancel := v.within()
	defer cancel()
	page := confirmPage{shell: v.shell("tasks"), wish: w, Counted: true, Changed: changed}
	if w.Redelivers() {
		page.Page = "deliveries"
	}
	if len(w.IDs) > 0 {
		if page.Sample, err = v.chosen(ctx, w); err == nil {
			page.Matched = int64(len(page.Sample))
			page.Sample = page.Sample[:min(len(page.Sample), sampleSize)]
		}
	} else {
		err = v.foresee(ctx, &page)
	}
	if err != nil {
		return err
	}
	if page.All {
		status = http.StatusUnprocessableEntity
	}
	return v.render(status, "confirm", page)
}

// foresee counts what a filter chooses and looks at some of it.
func (v *visit) foresee(ctx context.Context, page *confirmPage) error {
	b, none, err := page.bulk(v.app())
	if err != nil || none {
		return err
	}
	if page.All = b.Tasks.ChoosesAll() && b.Deliveries.ChoosesAll(); page.All {
		return nil
	}
	counting, cancel := context.WithTimeout(ctx, pageLimit/2)
	defer cancel()
	page.Matched, err = operate.CountBulk(counting, v.Pool, b)
	if counting.Err() != nil && ctx.Err() == nil {
		page.Counted, err = false, nil
	}
	if err != nil {
		return err
	}
	look := lookback.Search{Limit: sampleSize, Within: lookBack}
	if page.Redelivers() {
		if len(b.Deliveries.States) == 0 {
			b.Deliveries.States = operate.Usual(b.Action)
		}
		found, err := db.ListDeliveries(ctx, v.Pool, b.Deliveries, look)
		page.Sent = found.Items
		return err
	}
	if len(b.Tasks.Statuses) == 0 {
		b.Tasks.Statuses = operate.Usual(b.Action)
	}
	b.Tasks.Unkept = b.Action == db.BulkArchive
	found, err := db.ListTasks(ctx, v.Pool, b.Tasks, look)
	page.Sample = found.Items
	return err
}

// chosen are the chosen tasks that the person meets and the action can change.
func (v *visit) chosen(ctx context.Context, w wish) ([]db.Task, error) {
	if w.Redelivers() {
		return nil, &refusal{http.StatusUnprocessableEntity, "error.invalid"}
	}
	tasks, err := db.TasksOf(ctx, v.Pool, w.IDs)
	return slices.DeleteFunc(tasks, func(t db.Task) bool {
		return v.app() != "" && t.App != v.app() || !slices.Contains(operate.Possible(w.Do), t.Status)
	}), err
}

func (p *Pages) beginAction(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return err
	}
	w, err := v.readWish(v.r.PostForm)
	if err != nil {
		return err
	}
	if len(w.IDs) > 0 {
		return v.doChosen(w)
	}
	b, none, err := w.bulk(v.app())
	if err != nil {
		return err
	}
	if none {
		return v.confirm(http.StatusConflict, w, true)
	}
	if text := v.r.PostForm.Get("expected"); text != "" {
		expected, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return &refusal{http.StatusUnprocessableEntity, "error.invalid"}
		}
		b.Expected = &expected
	}
	begun, err := operate.BeginBulk(v.r.Context(), p.Pool, b)
	if refused, no := errors.AsType[*operate.Error](err); no && refused.Code == operate.Changed {
		return v.confirm(http.StatusConflict, w, true)
	}
	if err != nil {
		return err
	}
	return v.redirect("/actions/"+strconv.FormatInt(begun.ID, 10), "begun")
}

// outcomePage tells what became of chosen tasks.
type outcomePage struct {
	shell
	wish
	Done    int
	Refused []refusedTasks
}

// refusedTasks are tasks that an action was not done to, for one reason.
type refusedTasks struct {
	Why string // what operate says; "": their status does not allow it, or the person meets no such task
	IDs []int64
}

// refuse notes a task that the action was not done to.
func (o *outcomePage) refuse(id int64, why string) {
	for i := range o.Refused {
		if o.Refused[i].Why == why {
			o.Refused[i].IDs = append(o.Refused[i].IDs, id)
			return
		}
	}
	o.Refused = append(o.Refused, refusedTasks{why, []int64{id}})
}

// NotDone is how many tasks it was not done to.
func (o outcomePage) NotDone() (n int) {
	for _, r := range o.Refused {
		n += len(r.IDs)
	}
	return n
}

// doChosen does something to each of the chosen tasks by itself.
func (v *visit) doChosen(w wish) error {
	tasks, err := v.chosen(v.r.Context(), w)
	if err != nil {
		return err
	}
	page := outcomePage{shell: v.shell("tasks"), wish: w}
	for _, task := range tasks {
		err := v.doOne(w.Do, task)
		refused, no := errors.AsType[*operate.Error](err)
		switch {
		case no:
			page.refuse(task.ID, strings.TrimLeft(strings.TrimPrefix(refused.Error(), fmt.Sprintf("task %d", task.ID)), ": "))
		case err != nil:
			return err
		default:
			page.Done++
		}
	}
	for _, id := range w.IDs {
		if !slices.ContainsFunc(tasks, func(t db.Task) bool { return t.ID == id }) {
			page.refuse(id, "")
		}
	}
	return v.render(http.StatusOK, "outcome", page)
}

func (v *visit) doOne(action string, task db.Task) error {
	ctx := v.r.Context()
	switch action {
	case db.BulkCancel:
		return operate.Cancel(ctx, v.Pool, task, v.TaskDeadline)
	case db.BulkRetry:
		return operate.Retry(ctx, v.Pool, task, v.TaskDeadline)
	}
	asked, err := operate.KeepFiles(ctx, v.Pool, []int64{task.ID})
	if err == nil && len(asked) == 0 {
		err = &operate.Error{Code: operate.Conflict, Message: "it has no file that is not kept already and that the provider still has"}
	}
	return err
}

// actionsPage is the list of bulk actions.
type actionsPage struct {
	shell
	Actions      []db.Bulk
	Next, Newest string     // as in a tasksPage
	SearchedTo   *time.Time // nothing is searched for
}

func (p *Pages) listActions(v *visit) error {
	ctx, cancel := v.within()
	defer cancel()
	page, err := v.actionsPage(ctx)
	if err != nil {
		return err
	}
	if page.UnderWay() {
		page.Live, page.Reload = liveAt("actions", url.Values{"before": {v.r.FormValue("before")}}), 3
	}
	return v.render(http.StatusOK, "actions", page)
}

func (v *visit) actionsPage(ctx context.Context) (page actionsPage, err error) {
	before, _ := strconv.ParseInt(v.r.FormValue("before"), 10, 64)
	actions, err := db.ListBulks(ctx, v.Pool, 0, before, pageSize+1)
	page, next := actionsPage{shell: v.shell("settings"), Actions: actions}, int64(0)
	if len(actions) > pageSize {
		page.Actions, next = actions[:pageSize], actions[pageSize-1].ID
	}
	page.Next, page.Newest = pagesAround("/actions", url.Values{}, before, next)
	return page, err
}

// UnderWay tells whether any of them goes on.
func (page actionsPage) UnderWay() bool {
	return slices.ContainsFunc(page.Actions, func(b db.Bulk) bool { return b.State == db.BulkUnderWay })
}

// liveActions renders how far each is, every second while any goes on.
func (p *Pages) liveActions(ctx context.Context, v *visit, _ []int64) (map[string]string, time.Duration, error) {
	page, err := v.actionsPage(ctx)
	if err != nil {
		return nil, 0, err
	}
	parts := map[string]string{}
	for _, action := range page.Actions {
		for _, cell := range []string{"state", "done", "ended"} {
			if parts[fmt.Sprintf("b%d-%s", action.ID, cell)], err = part(v.lang, "actions", "cell-"+cell, action); err != nil {
				return nil, 0, err
			}
		}
	}
	return parts, againWhile(page.UnderWay()), nil
}

// actionPage is a bulk action.
type actionPage struct {
	shell
	db.Bulk
}

// UnderWay tells whether it goes on.
func (a actionPage) UnderWay() bool { return a.State == db.BulkUnderWay }

func (p *Pages) showAction(v *visit) error {
	page, err := v.actionPage(v.r.Context(), v.r.PathValue("id"))
	if err != nil {
		return err
	}
	page.Live = liveAt("action", url.Values{"ids": {v.r.PathValue("id")}})
	if page.UnderWay() {
		page.Reload = 3
	}
	return v.render(http.StatusOK, "action", page)
}

// actionPage reads a bulk action that the person meets.
func (v *visit) actionPage(ctx context.Context, id string) (page actionPage, err error) {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return page, db.ErrNotFound
	}
	page = actionPage{shell: v.shell("settings")}
	page.Bulk, err = operate.ViewBulk(ctx, v.Pool, number)
	if err == nil && v.app() != "" && page.App() != v.app() {
		err = db.ErrNotFound
	}
	return page, err
}

func (p *Pages) stopAction(v *visit) error {
	page, err := v.actionPage(v.r.Context(), v.r.PathValue("id"))
	if err == nil {
		err = operate.StopBulk(v.r.Context(), p.Pool, page.Bulk.ID)
	}
	if err != nil {
		return err
	}
	return v.redirect("/actions/"+strconv.FormatInt(page.Bulk.ID, 10), "stopped")
}

// liveAction renders the progress of a bulk action, every second while it goes on.
func (p *Pages) liveAction(ctx context.Context, v *visit, _ []int64) (map[string]string, time.Duration, error) {
	page, err := v.actionPage(ctx, v.r.FormValue("ids"))
	if err != nil {
		return nil, 0, err
	}
	parts := map[string]string{}
	for _, name := range []string{"head", "progress"} {
		if parts[name], err = part(v.lang, "action", "part-"+name, page); err != nil {
			return nil, 0, err
		}
	}
	return parts, againWhile(page.UnderWay()), nil
}
