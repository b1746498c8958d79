package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

func (a *API) registerTasks() {
	register(a, operation{
		id: "create-tasks", method: http.MethodPost, path: "/v1/tasks", tag: "tasks", scope: db.ScopeWrite, maxBody: maxTasksBody, checksBody: true,
		summary:     "Track a task, or up to 1,000",
		description: "A task is one and the same by relay, action, action2 and task_id, so the request may be repeated: 201 when a task is new, 200 when all are tracked already, 409 when one is there with other values; then nothing is done.",
		status:      http.StatusCreated, also: http.StatusOK, errors: []int{http.StatusConflict},
	}, a.createTasks)
	register(a, operation{
		id: "list-tasks", method: http.MethodGet, path: "/v1/tasks", tag: "tasks", scope: db.ScopeRead,
		summary: "List tasks, newest first",
	}, a.listTasks)
	register(a, operation{
		id: "get-task", method: http.MethodGet, path: "/v1/tasks/{id}", tag: "tasks", scope: db.ScopeRead,
		summary:     "Get a task by our id",
		description: "With wait, the answer comes when the task has ended, or after so many seconds with the state that it has then. With If-None-Match, 304 says that nothing has changed.",
		errors:      []int{http.StatusNotFound}, responses: unchanged(),
	}, a.getTask)
	register(a, operation{
		id: "get-task-by-task-id", method: http.MethodGet, path: "/v1/tasks/by-task-id/{task_id}", tag: "tasks", scope: db.ScopeRead,
		summary:     "Get a task by the provider's id",
		description: "The provider's id may be tracked under several paths and relays: 409 asks for action, action2 or relay then.",
		errors:      []int{http.StatusNotFound, http.StatusConflict}, responses: unchanged(),
	}, a.getTaskByTaskID)
	register(a, operation{
		id: "cancel-task", method: http.MethodPost, path: "/v1/tasks/{id}/cancel", tag: "tasks", scope: db.ScopeWrite, repeatable: true,
		summary: "Stop tracking a task", description: "The provider goes on with it, and may charge for it.",
		errors: []int{http.StatusNotFound, http.StatusConflict},
	}, a.cancelTask)
	register(a, operation{
		id: "retry-task", method: http.MethodPost, path: "/v1/tasks/{id}/retry", tag: "tasks", scope: db.ScopeWrite, repeatable: true,
		summary: "Ask again about a task that has ended", description: "The relay is asked at once, with a new deadline; nothing is generated anew.",
		errors: []int{http.StatusNotFound, http.StatusConflict},
	}, a.retryTask)
}

// unchanged describes the answer to an If-None-Match, which huma does not know.
func unchanged() map[string]*huma.Response {
	return map[string]*huma.Response{"304": {
		Description: "The state is still that of If-None-Match; without a body.",
		Headers:     map[string]*huma.Param{"ETag": {Description: "Of this state of the task.", Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
}

type createInput struct {
	Body    NewTasks
	RawBody []byte
}

type createOutput struct {
	Status   int
	Location string `header:"Location" doc:"Address of a single new task."`
	Body     CreatedTasks
}

func (a *API) createTasks(ctx context.Context, in *createInput) (*createOutput, error) {
	if err := a.checkTasks(in.RawBody); err != nil {
		return nil, err
	}
	wanted := make([]db.NewTask, len(in.Body.list))
	for i, n := range in.Body.list {
		app := appOf(ctx)
		if app == "" {
			app = n.App
		} else if n.App != "" && n.App != app {
			return nil, problem(invalid, "").at(in.Body.at(i)+".app", "must be the app that the key is restricted to, or left out")
		}
		wanted[i] = db.NewTask{
			Relay: n.Relay, App: app, TaskID: n.TaskID, Action: n.Action, Action2: n.Action2, ExternalID: n.ExternalID, CallbackURL: n.CallbackURL,
			Metadata: json.RawMessage(n.Metadata), DeadlineAt: n.DeadlineAt, Archive: n.Archive, CallbackEvents: n.CallbackEvents,
		}
	}
	created, err := operate.Create(ctx, a.Pool, wanted)
	if err != nil {
		return nil, in.Body.located(err)
	}
	out := &createOutput{Status: http.StatusOK, Body: CreatedTasks{one: !in.Body.many, Data: make([]Task, len(created))}}
	for i, c := range created {
		if c.New {
			out.Status = http.StatusCreated
		}
		out.Body.Data[i] = taskOf(c.Task)
	}
	if !in.Body.many {
		out.Location = "/v1/tasks/" + strconv.FormatInt(created[0].ID, 10)
	}
	return out, nil
}

type listInput struct {
	PageInput
	TaskFilter
	Expand []string `query:"expand" enum:"outputs" doc:"What else of each task is wanted: outputs."`
}

// TaskFilter are the parameters that choose tasks.
type TaskFilter struct {
	Status        []string          `query:"status" enum:"pending,submitted,processing,succeeded,failed,expired,not_found,canceled" doc:"One of these statuses."`
	Action        string            `query:"action" maxLength:"64" doc:"Tasks of this action, like videos."`
	Action2       string            `query:"action2" maxLength:"128" doc:"Tasks of this action2, like text2video; with action."`
	Relay         string            `query:"relay" maxLength:"64" doc:"Tasks at this relay."`
	App           string            `query:"app" maxLength:"63" doc:"Tasks of this app."`
	ExternalID    string            `query:"external_id" maxLength:"255" doc:"Tasks with this reference of the caller's."`
	Metadata      map[string]string `query:"metadata,deepObject" doc:"Tasks with these values in metadata: metadata[user]=42."`
	Error         string            `query:"error" maxLength:"200" doc:"Part of the reason, the code or the last error, in capitals or not."`
	Overdue       bool              `query:"overdue" doc:"Open, and not asked about or not ended a minute after it should have been."`
	CreatedAfter  time.Time         `query:"created_after" doc:"Tracked then or later."`
	CreatedBefore time.Time         `query:"created_before" doc:"Tracked before."`
}

// choice returns what a filter chooses, of what a caller meets.
func (f TaskFilter) choice(ctx context.Context) (db.TaskChoice, error) {
	c := db.TaskChoice{
		Statuses: f.Status, Path: f.Action, Relay: f.Relay, App: f.App, ExternalID: f.ExternalID, Metadata: f.Metadata, Error: f.Error, Overdue: f.Overdue,
		Since: f.CreatedAfter, Until: f.CreatedBefore,
	}
	if f.Action2 != "" {
		if f.Action == "" {
			return c, problem(invalid, "").at("query.action2", "goes with action")
		}
		c.Path += "/" + f.Action2
	}
	if app := appOf(ctx); app != "" {
		if c.App != "" && c.App != app {
			return c, problem(appRestricted, "")
		}
		c.App = app
	}
	return c, nil
}

type listOutput[T any] struct {
	Link string `header:"Link" doc:"The next part, as rel=next."`
	Body Page[T]
}

func (a *API) listTasks(ctx context.Context, in *listInput) (*listOutput[Task], error) {
	choice, err := in.choice(ctx)
	if err != nil {
		return nil, err
	}
	search, err := in.search(in.TaskFilter)
	if err != nil {
		return nil, err
	}
	page, err := db.ListTasks(ctx, a.Pool, choice, search)
	if err != nil {
		return nil, fmt.Errorf("reading the tasks: %w", err)
	}
	out := listOf(in.PageInput, in.TaskFilter, page, listedTask)
	if len(in.Expand) > 0 {
		if err := a.addOutputs(ctx, out.Body.Data); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// addOutputs fills in the outputs of tasks.
func (a *API) addOutputs(ctx context.Context, tasks []Task) error {
	ids, place := make([]int64, len(tasks)), map[int64]int{}
	for i, t := range tasks {
		ids[i], place[t.ID] = t.ID, i
		tasks[i].Outputs = &[]Output{}
	}
	outputs, err := db.OutputsOfTasks(ctx, a.Pool, ids)
	if err != nil {
		return fmt.Errorf("reading the outputs: %w", err)
	}
	for _, o := range outputs {
		list := tasks[place[o.Task]].Outputs
		*list = append(*list, a.outputOf(o))
	}
	return nil
}

// ExpandInput chooses what else of a task is wanted.
type ExpandInput struct {
	Expand []string `query:"expand" enum:"events" doc:"What else is wanted: events."`
}

// WaitInput says how long to wait.
type WaitInput struct {
	Wait   int    `query:"wait" minimum:"0" maximum:"60" doc:"Seconds to wait at most for the end of the task."`
	Prefer string `header:"Prefer" maxLength:"200" doc:"wait=N is the same."`
}

type getInput struct {
	ID int64 `path:"id" minimum:"1" doc:"Our id."`
	WaitInput
	ExpandInput
	IfNoneMatch string `header:"If-None-Match" doc:"The ETag of an answer: 304 when nothing has changed since."`
}

type taskOutput struct {
	ETag    string `header:"ETag" doc:"Of this state of the task."`
	Applied string `header:"Preference-Applied" doc:"Of Prefer, what was done."`
	Body    Task
}

func (a *API) getTask(ctx context.Context, in *getInput) (*taskOutput, error) {
	task, err := a.taskFor(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return a.answerTask(ctx, task, in.WaitInput, in.ExpandInput, in.IfNoneMatch)
}

// taskFor returns a task that the caller meets.
func (a *API) taskFor(ctx context.Context, id int64) (db.Task, error) {
	tasks, err := db.TasksOf(ctx, a.Pool, []int64{id})
	if err != nil {
		return db.Task{}, fmt.Errorf("reading task %d: %w", id, err)
	}
	if app := appOf(ctx); len(tasks) == 0 || app != "" && tasks[0].App != app {
		return db.Task{}, problem(notFound, "")
	}
	return tasks[0], nil
}

type getByTaskIDInput struct {
	TaskID  string `path:"task_id" maxLength:"255" doc:"The provider's id."`
	Action  string `query:"action" maxLength:"64" doc:"First part of the path."`
	Action2 string `query:"action2" maxLength:"128" doc:"Second part of the path."`
	Relay   string `query:"relay" maxLength:"64" doc:"Where it is tracked."`
	WaitInput
	ExpandInput
	IfNoneMatch string `header:"If-None-Match" doc:"The ETag of an answer: 304 when nothing has changed since."`
}

func (a *API) getTaskByTaskID(ctx context.Context, in *getByTaskIDInput) (*taskOutput, error) {
	found, err := db.TasksByTaskID(ctx, a.Pool, db.Tracked{TaskID: in.TaskID, Action: in.Action, Action2: in.Action2, Relay: in.Relay}, appOf(ctx))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading a task by the provider's id: %w", err)
	case len(found) == 0:
		return nil, problem(notFound, "")
	case len(found) > 1:
		return nil, problem(ambiguous, "This id is tracked several times: say action, action2 or relay.")
	}
	return a.answerTask(ctx, found[0], in.WaitInput, in.ExpandInput, in.IfNoneMatch)
}

// answerTask answers with a task, after a wait where one is asked for.
func (a *API) answerTask(ctx context.Context, row db.Task, w WaitInput, e ExpandInput, known string) (*taskOutput, error) {
	limit, preferred := w.limit()
	if limit > 0 && !db.Terminal(row.Status) {
		if err := a.awaitEnd(ctx, row.ID, limit); err != nil {
			return nil, err
		}
		var err error
		if row, err = a.taskFor(ctx, row.ID); err != nil {
			return nil, err
		}
	}
	task, err := a.expand(ctx, row, e.Expand)
	if err != nil {
		return nil, err
	}
	out := &taskOutput{Body: task, ETag: etagOf(task)}
	if preferred {
		out.Applied = "wait=" + strconv.Itoa(int(limit/time.Second))
	}
	if known == out.ETag || known == "*" {
		return nil, notModified{out.ETag}
	}
	return out, nil
}

// expand reads what else of a task is wanted; its outputs always are.
func (a *API) expand(ctx context.Context, row db.Task, wanted []string) (Task, error) {
	list := []Task{taskOf(row)}
	if err := a.addOutputs(ctx, list); err != nil {
		return Task{}, err
	}
	if slices.Contains(wanted, "events") {
		events, err := db.EventsOfTask(ctx, a.Pool, row.ID)
		if err != nil {
			return Task{}, fmt.Errorf("reading the events of a task: %w", err)
		}
		list[0].Events = &[]Event{}
		for _, e := range events {
			*list[0].Events = append(*list[0].Events, eventOf(e))
		}
	}
	return list[0], nil
}

type actInput struct {
	ID int64 `path:"id" minimum:"1" doc:"Our id."`
}

type actOutput struct {
	Body Task
}

func (a *API) cancelTask(ctx context.Context, in *actInput) (*actOutput, error) {
	return a.act(ctx, in.ID, func(task db.Task) error { return operate.Cancel(ctx, a.Pool, task, a.TaskDeadline) })
}

func (a *API) retryTask(ctx context.Context, in *actInput) (*actOutput, error) {
	return a.act(ctx, in.ID, func(task db.Task) error { return operate.Retry(ctx, a.Pool, task, a.TaskDeadline) })
}

// act does something to a task and answers with what became of it.
func (a *API) act(ctx context.Context, id int64, do func(db.Task) error) (*actOutput, error) {
	task, err := a.taskFor(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := do(task); err != nil {
		return nil, err
	}
	if task, err = a.taskFor(ctx, id); err != nil {
		return nil, err
	}
	expanded, err := a.expand(ctx, task, nil)
	return &actOutput{expanded}, err
}
