package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

func (a *API) registerRelays() {
	register(a, operation{
		id: "list-relays", method: http.MethodGet, path: "/v1/relays", tag: "relays", scope: db.ScopeRead, allApps: true,
		summary: "List relays", description: "The relay default is the one of the service's settings.",
	}, a.listRelays)
	register(a, operation{
		id: "create-relay", method: http.MethodPost, path: "/v1/relays", tag: "relays", scope: db.ScopeAdmin, allApps: true, repeatable: true,
		summary:     "Add a relay",
		description: "The services ask it within seconds. Its key is stored encrypted, for which KLINGWATCH_ENCRYPTION_KEY must be set; a key in a file is named on the command line only, so that nobody reads the files of a service from afar.",
		status:      http.StatusCreated,
	}, a.createRelay)
	register(a, operation{
		id: "get-relay", method: http.MethodGet, path: "/v1/relays/{name}", tag: "relays", scope: db.ScopeRead, allApps: true,
		summary: "Get a relay", errors: []int{http.StatusNotFound},
	}, a.getRelay)
	register(a, operation{
		id: "edit-relay", method: http.MethodPatch, path: "/v1/relays/{name}", tag: "relays", scope: db.ScopeAdmin, allApps: true,
		summary: "Change a relay", description: "What is left out stays.", errors: []int{http.StatusNotFound, http.StatusConflict},
	}, a.editRelay)
	register(a, operation{
		id: "remove-relay", method: http.MethodDelete, path: "/v1/relays/{name}", tag: "relays", scope: db.ScopeAdmin, allApps: true,
		summary: "Remove a relay whose tasks have all ended", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusConflict},
	}, a.removeRelay)
}

// Relay is a row of klingwatch.relays; its key is never told.
type Relay struct {
	Name                  string     `json:"name" doc:"As in tasks."`
	BaseURL               string     `json:"base_url" doc:"Scheme and host."`
	TaskPath              string     `json:"task_path" doc:"Template of the path of a task."`
	BatchSize             int        `json:"batch_size" doc:"Most ids in one request, where the path takes several."`
	PollRate              float64    `json:"poll_rate" doc:"Most requests per second, of all services."`
	OutputLifetimeSeconds float64    `json:"output_lifetime_seconds" doc:"How long it keeps files, from the end of their task."`
	Archive               *bool      `json:"archive" doc:"Whether the files of its tasks are kept; null: as KLINGWATCH_ARCHIVE of the services says."`
	KeySource             string     `json:"key_source" enum:"settings,key_file,stored,access_key" doc:"Where its key is."`
	CreatedAt             time.Time  `json:"created_at"`
	ChangedAt             time.Time  `json:"changed_at"`
	PausedAt              *time.Time `json:"paused_at" doc:"Its key is refused since then, and it is asked only now and then; null: it is asked."`
	PauseReason           *string    `json:"pause_reason"`
}

// relaysWithPauses returns the relays by name.
func (a *API) relaysWithPauses(ctx context.Context) ([]Relay, error) {
	rows, err := db.Relays(ctx, a.Pool)
	if err != nil {
		return nil, fmt.Errorf("reading the relays: %w", err)
	}
	pauses, err := operate.Pauses(ctx, a.Pool)
	if err != nil {
		return nil, err
	}
	return each(rows, func(r db.Relay) Relay {
		relay := Relay{
			Name: r.Name, BaseURL: r.BaseURL, TaskPath: r.TaskPath, BatchSize: r.BatchSize, PollRate: r.PollRate,
			OutputLifetimeSeconds: r.OutputLifetime.Seconds(), Archive: r.Archive, KeySource: r.KeySource, CreatedAt: r.CreatedAt, ChangedAt: r.ChangedAt,
		}
		for _, p := range pauses {
			if r.Credential != nil && p.Credential == *r.Credential {
				relay.PausedAt, relay.PauseReason = &p.PausedAt, &p.Reason
			}
		}
		return relay
	}), nil
}

func (a *API) listRelays(ctx context.Context, _ *struct{}) (*allOutput[Relay], error) {
	list, err := a.relaysWithPauses(ctx)
	return &allOutput[Relay]{Page[Relay]{Data: list}}, err
}

// RelayInput names a relay.
type RelayInput struct {
	Name string `path:"name" maxLength:"64" doc:"Its name."`
}

type relayOutput struct {
	Body Relay
}

func (a *API) getRelay(ctx context.Context, in *RelayInput) (*relayOutput, error) {
	list, err := a.relaysWithPauses(ctx)
	if err != nil {
		return nil, err
	}
	for _, relay := range list {
		if relay.Name == in.Name {
			return &relayOutput{relay}, nil
		}
	}
	return nil, problem(notFound, "")
}

type newRelayInput struct {
	Body struct {
		Name                  string  `json:"name" pattern:"^[a-z0-9][a-z0-9._-]{0,63}$" doc:"As tasks will have it." example:"second"`
		BaseURL               string  `json:"base_url" maxLength:"500" doc:"Scheme and host." example:"https://relay.example"`
		Key                   string  `json:"key" minLength:"1" maxLength:"4096" doc:"The bearer key." example:"sk-1"`
		TaskPath              string  `json:"task_path,omitempty" maxLength:"500" doc:"Template of the path of a task: {action}, {action2} and {task_id}, or {task_ids} where the relay takes several ids at once."`
		BatchSize             int     `json:"batch_size,omitempty" minimum:"1" maximum:"100" doc:"Most ids in one request, where the path has {task_ids}."`
		PollRate              float64 `json:"poll_rate,omitempty" exclusiveMinimum:"0" maximum:"1000000" doc:"Most requests per second, of all services."`
		OutputLifetimeSeconds float64 `json:"output_lifetime_seconds,omitempty" minimum:"60" maximum:"315360000" doc:"How long it keeps files."`
		Archive               *bool   `json:"archive,omitempty" doc:"Whether the files of its tasks are kept; left out: as KLINGWATCH_ARCHIVE of the services says."`
	}
}

func (a *API) createRelay(ctx context.Context, in *newRelayInput) (*relayOutput, error) {
	err := operate.AddRelay(ctx, a.Pool, a.Keyring, operate.NewRelay{
		Name: in.Body.Name, BaseURL: in.Body.BaseURL, TaskPath: in.Body.TaskPath, BatchSize: in.Body.BatchSize, PollRate: in.Body.PollRate,
		OutputLifetime: seconds(in.Body.OutputLifetimeSeconds), Archive: in.Body.Archive, Key: operate.RelayKey{Key: in.Body.Key},
	})
	if err != nil {
		return nil, err
	}
	return a.getRelay(ctx, &RelayInput{in.Body.Name})
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

type editRelayInput struct {
	RelayInput
	Body struct {
		BaseURL               *string  `json:"base_url,omitempty" maxLength:"500" nullable:"false" doc:"Scheme and host."`
		Key                   string   `json:"key,omitempty" minLength:"1" maxLength:"4096" doc:"The bearer key."`
		TaskPath              *string  `json:"task_path,omitempty" maxLength:"500" nullable:"false" doc:"Template of the path of a task."`
		BatchSize             *int     `json:"batch_size,omitempty" minimum:"1" maximum:"100" nullable:"false" doc:"Most ids in one request."`
		PollRate              *float64 `json:"poll_rate,omitempty" exclusiveMinimum:"0" maximum:"1000000" nullable:"false" doc:"Most requests per second."`
		OutputLifetimeSeconds *float64 `json:"output_lifetime_seconds,omitempty" minimum:"60" maximum:"315360000" nullable:"false" doc:"How long it keeps files."`
		Archive               Choice   `json:"archive,omitempty" doc:"Whether the files of its tasks are kept; null: as KLINGWATCH_ARCHIVE of the services says."`
	}
}

func (a *API) editRelay(ctx context.Context, in *editRelayInput) (*relayOutput, error) {
	edit := operate.RelayEdit{
		BaseURL: in.Body.BaseURL, TaskPath: in.Body.TaskPath, BatchSize: in.Body.BatchSize, PollRate: in.Body.PollRate, Archive: in.Body.Archive.chosen,
		Key: operate.RelayKey{Key: in.Body.Key},
	}
	if in.Body.OutputLifetimeSeconds != nil {
		edit.OutputLifetime = new(seconds(*in.Body.OutputLifetimeSeconds))
	}
	if err := operate.EditRelay(ctx, a.Pool, a.Keyring, in.Name, edit); err != nil {
		return nil, err
	}
	return a.getRelay(ctx, &in.RelayInput)
}

func (a *API) removeRelay(ctx context.Context, in *RelayInput) (*struct{}, error) {
	return nil, operate.RemoveRelay(ctx, a.Pool, in.Name)
}
