package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/klingwatch/klingwatch/db"
)

func (a *API) registerOutputs() {
	register(a, operation{
		id: "list-outputs", method: http.MethodGet, path: "/v1/outputs", tag: "outputs", scope: db.ScopeRead,
		summary: "List files, those of the newest tasks first", description: "A part holds all files of its tasks: limit counts tasks.",
	}, a.listOutputs)
}

// ListedOutput is a file with its task.
type ListedOutput struct {
	Output
	Task       int64     `json:"task" doc:"tasks.id"`
	Relay      string    `json:"relay" doc:"Of the task, as the following."`
	App        string    `json:"app"`
	TaskID     string    `json:"task_id"`
	Action     string    `json:"action"`
	Action2    string    `json:"action2"`
	ExternalID *string   `json:"external_id"`
	CreatedAt  time.Time `json:"created_at" doc:"When the task was tracked."`
}

func listedOutputOf(o db.ListedOutput) ListedOutput {
	return ListedOutput{outputOf(o.Output), o.Task, o.Relay, o.App, o.TaskID, o.Action, o.Action2, o.ExternalID, o.CreatedAt}
}

// OutputFilter are the parameters that choose files.
type OutputFilter struct {
	Kind          string    `query:"kind" enum:"image,video,audio" doc:"Of this kind."`
	ExpiresBefore time.Time `query:"expires_before" doc:"Whose URL stops working before, and works still."`
	Action        string    `query:"action" maxLength:"64" doc:"Of tasks of this action."`
	Relay         string    `query:"relay" maxLength:"64" doc:"Of tasks at this relay."`
	App           string    `query:"app" maxLength:"63" doc:"Of tasks of this app."`
	ExternalID    string    `query:"external_id" maxLength:"255" doc:"Of tasks with this reference of the caller's."`
	CreatedAfter  time.Time `query:"created_after" doc:"Of tasks that were tracked then or later."`
	CreatedBefore time.Time `query:"created_before" doc:"Of tasks that were tracked before."`
}

type listOutputsInput struct {
	PageInput
	OutputFilter
}

func (a *API) listOutputs(ctx context.Context, in *listOutputsInput) (*listOutput[ListedOutput], error) {
	f := in.OutputFilter
	tasks, err := TaskFilter{
		Action: f.Action, Relay: f.Relay, App: f.App, ExternalID: f.ExternalID, CreatedAfter: f.CreatedAfter, CreatedBefore: f.CreatedBefore,
	}.choice(ctx)
	if err != nil {
		return nil, err
	}
	search, err := in.search(f)
	if err != nil {
		return nil, err
	}
	page, err := db.ListOutputs(ctx, a.Pool, db.OutputChoice{Kind: f.Kind, Expiring: f.ExpiresBefore, Tasks: tasks}, search)
	if err != nil {
		return nil, fmt.Errorf("reading the outputs: %w", err)
	}
	return listOf(in.PageInput, f, page, listedOutputOf), nil
}
