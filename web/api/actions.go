package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

func (a *API) registerActions() {
	register(a, operation{
		id: "begin-action", method: http.MethodPost, path: "/v1/actions", tag: "actions", scope: db.ScopeWrite, repeatable: true,
		summary:     "Do something to all that a filter chooses",
		description: "First with dry_run, which answers 200 with what would be changed. Then with the number that it told as expected: 202, and the services work it off; 409 when the number has changed.",
		status:      http.StatusAccepted, also: http.StatusOK, errors: []int{http.StatusNotFound, http.StatusConflict},
	}, a.beginAction)
	register(a, operation{
		id: "list-actions", method: http.MethodGet, path: "/v1/actions", tag: "actions", scope: db.ScopeRead, allApps: true,
		summary: "List bulk actions, newest first",
	}, a.listActions)
	register(a, operation{
		id: "get-action", method: http.MethodGet, path: "/v1/actions/{id}", tag: "actions", scope: db.ScopeRead,
		summary: "Get the progress of a bulk action", errors: []int{http.StatusNotFound},
	}, a.getAction)
	register(a, operation{
		id: "stop-action", method: http.MethodDelete, path: "/v1/actions/{id}", tag: "actions", scope: db.ScopeWrite,
		summary: "Stop a bulk action", description: "What is done stays done.", errors: []int{http.StatusNotFound},
	}, a.stopAction)
}

// Action is a bulk action, a row of klingwatch.bulk_actions; a dry run has no id.
type Action struct {
	ID         *int64     `json:"id" doc:"null: a dry run."`
	Action     string     `json:"action" enum:"cancel,retry,redeliver,archive"`
	State      string     `json:"state" enum:"dry_run,under_way,stopped,finished"`
	Matched    int64      `json:"matched" doc:"What the filter chose when it began."`
	Done       int64      `json:"done" doc:"Changed so far."`
	PerSecond  int        `json:"per_second" doc:"Most that are changed in a second; 0: as many as polls and webhooks leave room for."`
	CreatedAt  *time.Time `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at" doc:"null while under way."`
}

func actionOf(b db.Bulk) Action {
	return Action{&b.ID, b.Action, b.State, b.Matched, b.Done, b.PerSecond, &b.CreatedAt, b.FinishedAt}
}

// ActionFilter chooses tasks, or for redeliver the deliveries about tasks.
type ActionFilter struct {
	Status        []string          `json:"status,omitempty" nullable:"false" doc:"Of tasks; left out: all open ones for cancel; failed, expired and not_found for retry; succeeded for archive."`
	State         []string          `json:"state,omitempty" nullable:"false" doc:"Of deliveries; left out: exhausted."`
	Endpoint      *int64            `json:"endpoint,omitempty" minimum:"1" nullable:"false" doc:"Of deliveries."`
	Action        string            `json:"action,omitempty" maxLength:"64" example:"videos"`
	Action2       string            `json:"action2,omitempty" maxLength:"128" doc:"With action."`
	Relay         string            `json:"relay,omitempty" maxLength:"64"`
	App           string            `json:"app,omitempty" maxLength:"63"`
	ExternalID    string            `json:"external_id,omitempty" maxLength:"255"`
	Metadata      map[string]string `json:"metadata,omitempty" doc:"Values as text."`
	Error         string            `json:"error,omitempty" maxLength:"200" doc:"Part of the reason, the code or the last error."`
	Overdue       bool              `json:"overdue,omitempty"`
	CreatedAfter  time.Time         `json:"created_after,omitempty" doc:"Then or later."`
	CreatedBefore time.Time         `json:"created_before,omitempty" doc:"Before."`
}

type beginInput struct {
	Body struct {
		Action    string       `json:"action" enum:"cancel,retry,redeliver,archive" doc:"What to do. archive keeps the files of tasks that succeeded, where they were not to be kept, or were lost, and the provider still has them."`
		Filter    ActionFilter `json:"filter" doc:"To what; it must choose something."`
		DryRun    bool         `json:"dry_run,omitempty" doc:"Tell only."`
		Expected  *int64       `json:"expected,omitempty" minimum:"0" nullable:"false" doc:"The number of the dry run."`
		PerSecond int          `json:"per_second,omitempty" minimum:"1" maximum:"500" doc:"Most to change in a second; left out: 50 for redeliver, else as many as polls and webhooks leave room for."`
	}
}

type actionOutput struct {
	Status int
	Body   Action
}

// bulk is what a request asks for.
func (in *beginInput) bulk(ctx context.Context) (operate.Bulk, error) {
	f := in.Body.Filter
	tasks, err := TaskFilter{
		Action: f.Action, Action2: f.Action2, Relay: f.Relay, App: f.App, ExternalID: f.ExternalID, Metadata: f.Metadata, Error: f.Error, Overdue: f.Overdue,
		CreatedAfter: f.CreatedAfter, CreatedBefore: f.CreatedBefore, Status: f.Status,
	}.choice(ctx)
	if err != nil {
		return operate.Bulk{}, err
	}
	b := operate.Bulk{Action: in.Body.Action, Tasks: tasks, PerSecond: in.Body.PerSecond, Expected: in.Body.Expected}
	if b.PerSecond == 0 && b.Action == db.BulkRedeliver {
		b.PerSecond = operate.DefaultPerSecond
	}
	if b.Action == db.BulkRedeliver {
		if appOf(ctx) != "" {
			return b, problem(appRestricted, "")
		}
		tasks.Error, tasks.Since, tasks.Until = "", time.Time{}, time.Time{}
		b.Tasks, b.Deliveries = db.TaskChoice{}, db.DeliveryChoice{
			States: f.State, Endpoint: f.Endpoint, Since: f.CreatedAfter, Until: f.CreatedBefore, Error: f.Error, Tasks: tasks,
		}
	}
	return b, nil
}

func (a *API) beginAction(ctx context.Context, in *beginInput) (*actionOutput, error) {
	b, err := in.bulk(ctx)
	if err != nil {
		return nil, err
	}
	if in.Body.DryRun {
		matched, err := operate.CountBulk(ctx, a.Pool, b)
		return &actionOutput{http.StatusOK, Action{Action: b.Action, State: "dry_run", Matched: matched, PerSecond: b.PerSecond}}, err
	}
	if in.Body.Expected == nil {
		return nil, problem(invalid, "").at("body.expected", "is needed: the number that a dry run told")
	}
	begun, err := operate.BeginBulk(ctx, a.Pool, b)
	if err != nil {
		return nil, err
	}
	return &actionOutput{http.StatusAccepted, actionOf(begun)}, nil
}

type listActionsInput struct{ PageInput }

func (a *API) listActions(ctx context.Context, in *listActionsInput) (*listOutput[Action], error) {
	before, err := in.place("actions")
	if err != nil {
		return nil, err
	}
	rows, err := db.ListBulks(ctx, a.Pool, 0, before, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("reading the bulk actions: %w", err)
	}
	page := db.Page[db.Bulk]{Items: rows}
	if len(rows) > in.Limit {
		page.Items, page.Next = rows[:in.Limit], rows[in.Limit-1].ID
	}
	return listOf(in.PageInput, "actions", page, actionOf), nil
}

type actionInput struct {
	ID int64 `path:"id" minimum:"1" doc:"Its number."`
}

// actionFor returns a bulk action that the caller meets.
func (a *API) actionFor(ctx context.Context, id int64) (db.Bulk, error) {
	b, err := operate.ViewBulk(ctx, a.Pool, id)
	if err != nil {
		return b, err
	}
	if app := appOf(ctx); app != "" && b.App() != app {
		return b, problem(notFound, "")
	}
	return b, nil
}

func (a *API) getAction(ctx context.Context, in *actionInput) (*actionOutput, error) {
	b, err := a.actionFor(ctx, in.ID)
	return &actionOutput{http.StatusOK, actionOf(b)}, err
}

func (a *API) stopAction(ctx context.Context, in *actionInput) (*actionOutput, error) {
	if _, err := a.actionFor(ctx, in.ID); err != nil {
		return nil, err
	}
	if err := operate.StopBulk(ctx, a.Pool, in.ID); err != nil {
		return nil, err
	}
	return a.getAction(ctx, in)
}
