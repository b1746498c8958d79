package pages

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
	Sample  []db.Task
	Sent    []db.Delivery // the sample of deliveries
}

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
	return v.render(status, "confirm", page)
}

// foresee counts what a filter chooses and looks at some of it.
func (v *visit) foresee(ctx context.Context, page *confirmPage) error {
	b, none, err := page.bulk(v.app())
	if err != nil || none {
		return err
	}
	if err := b.Check(); b.Tasks.ChoosesAll() && b.Deliveries.ChoosesAll() && err != nil {
		return &refusal{http.StatusUnprocessableEntity, "error.choose_something"}
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
	Refused []refusedTask
}

// refusedTask is a task that an action was not done to.
type refusedTask struct {
	ID  int64
	Why string // what operate says
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
			page.Refused = append(page.Refused, refusedTask{task.ID, refused.Error()})
		case err != nil:
			return err
		default:
			page.Done++
		}
	}
	for _, id := range w.IDs {
		if !slices.ContainsFunc(tasks, func(t db.Task) bool { return t.ID == id }) {
			page.Refused = append(page.Refused, refusedTask{ID: id})
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
	before, _ := strconv.ParseInt(v.r.FormValue("before"), 10, 64)
	ctx, cancel := v.within()
	defer cancel()
	actions, err := db.ListBulks(ctx, p.Pool, 0, before, pageSize+1)
	if err != nil {
		return err
	}
	page, next := actionsPage{shell: v.shell("settings"), Actions: actions}, int64(0)
	if len(actions) > pageSize {
		page.Actions, next = actions[:pageSize], actions[pageSize-1].ID
	}
	page.Next, page.Newest = pagesAround("/actions", url.Values{}, before, next)
	return v.render(http.StatusOK, "actions", page)
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
	again := time.Duration(0)
	if page.UnderWay() {
		again = time.Second
	}
	parts := map[string]string{}
	for _, name := range []string{"head", "progress"} {
		if parts[name], err = part(v.lang, "action", "part-"+name, page); err != nil {
			return nil, 0, err
		}
	}
	return parts, again, nil
}
