package pages

import (
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
	"github.com/klingwatch/klingwatch/readable"
)

const (
	// pageSize is how many rows a list shows.
	pageSize = 50
	// lookBack is how long a list looks for what no index finds, before it shows what it has.
	lookBack = 15 * time.Millisecond
	// countUpTo bounds the counts of pages.
	countUpTo = 10_000
)

// statuses are those that a list can be filtered by.
var statuses = []string{db.Pending, db.Submitted, db.Processing, db.Succeeded, db.Failed, db.Expired, db.NotFound, db.Canceled}

// taskFilter is what the list of tasks is asked for, by its parameters in the address.
type taskFilter struct {
	Query      string // q: an id, of ours or the provider's, or an external id; the rest does not count then
	Status     []string
	Action     string // action, or action/action2
	Relay      string
	App        string
	ExternalID string
	Metadata   string // key=value
	Error      string
	Since      string // a day, or a length of time like 24h
	Until      string
	Overdue    bool
}

// readTaskFilter reads the filter of a form.
func readTaskFilter(form url.Values) taskFilter {
	f := taskFilter{
		Query: strings.TrimSpace(form.Get("q")), ExternalID: form.Get("external_id"), Action: form.Get("action"), Relay: form.Get("relay"), App: form.Get("app"),
		Metadata: form.Get("metadata"), Error: form.Get("error"), Since: form.Get("since"), Until: form.Get("until"), Overdue: form.Get("overdue") != "",
	}
	for _, status := range form["status"] {
		if slices.Contains(statuses, status) {
			f.Status = append(f.Status, status)
		}
	}
	return f
}

// Values are the parameters of the filter; what chooses nothing is left out.
func (f taskFilter) Values() url.Values {
	query := given(map[string]string{
		"q": f.Query, "external_id": f.ExternalID, "action": f.Action, "relay": f.Relay, "app": f.App, "metadata": f.Metadata, "error": f.Error, "since": f.Since, "until": f.Until,
	})
	if len(f.Status) > 0 {
		query["status"] = f.Status
	}
	if f.Overdue {
		query.Set("overdue", "1")
	}
	return query
}

// Has tells whether a status is chosen.
func (f taskFilter) Has(status string) bool { return slices.Contains(f.Status, status) }

// Narrow tells whether the filter chooses anything beside a status and a word.
func (f taskFilter) Narrow() bool {
	f.Query, f.Status = "", nil
	return len(f.Values()) > 0
}

// choice is what the filter chooses, of what a person meets.
func (f taskFilter) choice(app string) (db.TaskChoice, error) {
	c := db.TaskChoice{Statuses: f.Status, Path: f.Action, Relay: f.Relay, App: f.App, Error: f.Error, Overdue: f.Overdue, ExternalID: f.ExternalID}
	if app != "" {
		c.App = app
	}
	if f.Metadata != "" {
		key, value, whole := strings.Cut(f.Metadata, "=")
		if !whole {
			return c, &refusal{http.StatusUnprocessableEntity, "error.metadata"}
		}
		c.Metadata = map[string]string{strings.TrimSpace(key): strings.TrimSpace(value)}
	}
	var err error
	if c.Since, err = readTime(f.Since); err != nil {
		return c, err
	}
	c.Until, err = readTime(f.Until)
	return c, err
}

// readTime reads a day, a minute, or a length of time before now; "" is the zero time.
func readTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.DateOnly, "2006-01-02T15:04", time.RFC3339} {
		if at, err := time.Parse(form, text); err == nil {
			return at, nil
		}
	}
	ago, err := readable.ParseDuration(text)
	if err != nil {
		return time.Time{}, &refusal{http.StatusUnprocessableEntity, "error.time"}
	}
	return time.Now().Add(-ago), nil
}

// tasksPage is the list of tasks.
type tasksPage struct {
	shell
	Filter     taskFilter
	Statuses   []string
	Tasks      []taskRow
	Next       string // address of what is older; "": there is nothing
	Newest     string // address of the first part; "": this is it
	SearchedTo *time.Time
	Count      db.Count
	Empty      bool // there is no task at all
}

// taskRow is a task in a list.
type taskRow struct{ db.Task }

func (p *Pages) listTasks(v *visit) error {
	f := readTaskFilter(v.r.URL.Query())
	ctx, cancel := v.within()
	defer cancel()
	if f.Query != "" {
		return v.findTasks(ctx, f)
	}
	choice, err := f.choice(v.app())
	if err != nil {
		return err
	}
	before, _ := strconv.ParseInt(v.r.FormValue("before"), 10, 64)
	page, err := db.ListTasks(ctx, p.Pool, choice, lookback.Search{Before: before, Limit: pageSize, Within: lookBack})
	if err != nil {
		return err
	}
	count := db.Count{N: int64(len(page.Items)), Exact: true}
	if before != 0 || page.Next != 0 {
		if count, err = db.CountTasksUpTo(ctx, p.Pool, choice, countUpTo); err != nil {
			return err
		}
	}
	shown := v.tasksPage(f, page.Items, count)
	shown.Next, shown.Newest = pagesAround("/tasks", f.Values(), before, page.Next)
	if page.Cut {
		shown.SearchedTo = &page.Since
	}
	shown.Empty = len(page.Items) == 0 && len(f.Values()) == 0 && before == 0
	shown.Live = liveAt("tasks", tasksLive(f, page.Items, before == 0))
	return v.render(http.StatusOK, "tasks", shown)
}

func (v *visit) tasksPage(f taskFilter, tasks []db.Task, count db.Count) tasksPage {
	return tasksPage{shell: v.shell("tasks"), Filter: f, Statuses: statuses, Tasks: rowsOf(tasks), Count: count}
}

// findTasks shows the tasks with an id; one alone is opened.
func (v *visit) findTasks(ctx context.Context, f taskFilter) error {
	tasks, err := v.tasksWithID(ctx, f.Query)
	if err != nil {
		return err
	}
	if len(tasks) == 1 {
		return v.redirect(taskPath(tasks[0].ID), "")
	}
	shown := v.tasksPage(f, tasks, db.Count{N: int64(len(tasks)), Exact: true})
	shown.Live = liveAt("tasks", tasksLive(f, tasks, false))
	return v.render(http.StatusOK, "tasks", shown)
}

func rowsOf(tasks []db.Task) []taskRow {
	rows := make([]taskRow, len(tasks))
	for i, task := range tasks {
		rows[i] = taskRow{task}
	}
	return rows
}

// pagesAround are the addresses of the next part of a list and of its first.
func pagesAround(path string, query url.Values, before, next int64) (older, newest string) {
	if before != 0 {
		newest = address(path, query)
	}
	if next != 0 {
		query.Set("before", strconv.FormatInt(next, 10))
		older = address(path, query)
	}
	return older, newest
}

func address(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// tasksWithID are the tasks with an id, of ours, the provider's or an external one, that the
// person meets, newest first.
func (v *visit) tasksWithID(ctx context.Context, id string) ([]db.Task, error) {
	tasks, err := operate.FindTasks(ctx, v.Pool, id)
	if refused, no := errors.AsType[*operate.Error](err); err != nil && !(no && refused.Code == operate.NotFound) {
		return nil, err
	}
	slices.Reverse(tasks)
	return slices.DeleteFunc(tasks, func(t db.Task) bool { return v.app() != "" && t.App != v.app() }), nil
}

func taskPath(id int64) string { return "/tasks/" + strconv.FormatInt(id, 10) }

// tasksLive are the parameters of the stream of a list: the rows that it shows, and on its
// first part also what counts new ones.
func tasksLive(f taskFilter, tasks []db.Task, first bool) url.Values {
	return rowsLive(f.Values(), tasks, func(t db.Task) int64 { return t.ID }, first)
}

// liveTasks renders the cells of rows that have changed, and how many tasks are new.
func (p *Pages) liveTasks(ctx context.Context, v *visit, changed []int64) (map[string]string, time.Duration, error) {
	parts := map[string]string{}
	if ids := among(v.shownIDs(), changed); len(ids) > 0 {
		tasks, err := db.TasksOf(ctx, p.Pool, ids)
		if err != nil {
			return nil, 0, err
		}
		for _, row := range rowsOf(tasks) {
			if v.app() != "" && row.App != v.app() {
				continue
			}
			if err := v.cells(parts, row); err != nil {
				return nil, 0, err
			}
		}
	}
	above, err := strconv.ParseInt(v.r.FormValue("above"), 10, 64)
	if err != nil { // a part of the list that nothing new comes to
		return parts, 0, nil
	}
	f := readTaskFilter(v.r.URL.Query())
	choice, err := f.choice(v.app())
	if err != nil {
		return nil, 0, err
	}
	n, err := db.CountTasksAbove(ctx, p.Pool, choice, above, pageSize)
	if err != nil {
		return nil, 0, err
	}
	return parts, 0, v.tellNew(parts, "tasks", n, f.Values())
}

// cells renders what is live of a row.
func (v *visit) cells(parts map[string]string, row taskRow) error {
	for _, cell := range []string{"status", "when", "note"} {
		text, err := part(v.lang, "tasks", "cell-"+cell, row)
		if err != nil {
			return err
		}
		parts[fmt.Sprintf("t%d-%s", row.ID, cell)] = text
	}
	return nil
}
