package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/feed"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/callers"
	"github.com/klingwatch/klingwatch/webhook"
)

// Version is of the contract: it grows by what is added, and /v1 stays.
const Version = "1.0.0"

// maxBody bounds the body of a request, in bytes; that of a thousand tasks has more room.
const (
	maxBody      = 1 << 20
	maxTasksBody = 24 << 20 // a thousand with 16 kB of metadata each
)

// Config is what the API stands on.
type Config struct {
	Pool         *pgxpool.Pool
	Keyring      *keyring.Keyring
	Log          *slog.Logger
	TaskDeadline time.Duration   // KLINGWATCH_TASK_DEADLINE
	Webhooks     *webhook.Client // sends test webhooks
	Feed         *feed.Feed
	Metrics      *metrics.Callbacks
	PollInterval time.Duration // KLINGWATCH_POLL_INTERVAL
	RequestRate  float64       // requests per second of one key to this process; 0: no limit
	Archive      archive.Store // where files are kept; nil: nowhere
	// Session is the key of a person who is logged in to the pages, which show files;
	// operate.ErrNoAPIKey: nobody is. nil: there are no pages.
	Session   func(*http.Request) (db.APIKey, error)
	PublicURL string // KLINGWATCH_PUBLIC_URL, without a slash at its end; "": addresses of files are paths
}

// API serves /v1.
type API struct {
	Config
	mux     *http.ServeMux
	huma    huma.API
	spec    []byte
	callers *callers.Callers
}

// New returns the API.
func New(cfg Config) (*API, error) {
	a := &API{Config: cfg, mux: http.NewServeMux(), callers: callers.New(cfg.RequestRate)}
	a.huma = humago.New(a.mux, huma.Config{
		OpenAPI: document(),
		// no page from another host, no address of a schema in every answer
		OpenAPIPath: "", DocsPath: "", SchemasPath: "", CreateHooks: nil,
		Formats:                      map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true, // a misspelt filter would choose everything
	})
	for _, noun := range []func(*API){
		(*API).registerTasks, (*API).registerEvents, (*API).registerOutputs, (*API).registerDeliveries, (*API).registerEndpoints, (*API).registerRelays,
		(*API).registerReports, (*API).registerActions,
	} {
		noun(a)
	}
	spec, err := json.MarshalIndent(a.huma.OpenAPI(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the OpenAPI document: %w", err)
	}
	a.spec = append(spec, '\n')
	a.mux.HandleFunc("GET /v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(a.spec)
	})
	if cfg.Metrics != nil {
		a.mux.Handle(CallbackPattern, Callbacks(operate.NewCallbacks(cfg.Pool, cfg.Keyring, cfg.PollInterval), cfg.Metrics, cfg.Log))
	}
	if err := a.registerDocs(); err != nil {
		return nil, err
	}
	a.mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) { a.unrouted(w, r) })
	return a, nil
}

// Spec is the OpenAPI document, as JSON.
func (a *API) Spec() []byte { return a.spec }

// ServeHTTP serves /v1.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	a.mux.ServeHTTP(w, r)
}

// unrouted answers what no operation does.
func (a *API) unrouted(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		other := *r
		other.Method = method
		if _, pattern := a.mux.Handler(&other); pattern != "/v1/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		writeProblem(w, problem(notFound, "There is no such address; GET /v1/openapi.json lists them."))
		return
	}
	for _, method := range allowed {
		w.Header().Add("Allow", method)
	}
	writeProblem(w, problem(methodNotAllowed, ""))
}

// operation describes an operation before it is registered.
type operation struct {
	method, path, id string
	tag              string
	scope            string // that a key needs
	allApps          bool   // refused to a key that is restricted to an app
	byLink           bool   // a signed link does instead of a key
	summary          string
	description      string
	status           int                       // of success; 0: 200
	also             int                       // another one, with the same body; 0: there is none
	errors           []int                     // beside those that every operation may answer
	maxBody          int64                     // 0: maxBody
	repeatable       bool                      // it takes an Idempotency-Key
	checksBody       bool                      // itself, against its schema
	responses        map[string]*huma.Response // where huma cannot know them
}

// register adds an operation. Its errors are turned into problems.
func register[I, O any](a *API, o operation, do func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Tags: []string{o.tag}, Summary: o.summary, Description: o.description, DefaultStatus: o.status,
		Security:     []map[string][]string{{"key": {}}},
		Errors:       append([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable}, o.errors...),
		MaxBodyBytes: o.maxBody, SkipValidateBody: o.checksBody, Responses: o.responses,
		Extensions:  map[string]any{"x-scope": o.scope},
		Middlewares: huma.Middlewares{a.authorize(o)},
	}
	if o.allApps {
		op.Extensions["x-all-apps"] = true
	}
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = maxBody
	}
	if o.byLink {
		op.Security = append(op.Security, map[string][]string{"link": {}})
	}
	if o.repeatable {
		op.Middlewares = append(op.Middlewares, a.repeat)
		op.Parameters = append(op.Parameters, idempotencyParameter)
		op.Errors = append(op.Errors, http.StatusConflict)
	}
	if o.method != http.MethodGet {
		op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	defer a.allow(o)
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, a.problemOf(ctx, err)
		}
		return out, nil
	})
}

// allow notes the second status of success, which huma has no place for.
func (a *API) allow(o operation) {
	if o.also == 0 {
		return
	}
	responses := a.huma.OpenAPI().Paths[o.path].Post.Responses
	responses[strconv.Itoa(o.also)] = responses[strconv.Itoa(o.status)]
}

// document is the OpenAPI document without its operations.
func document() *huma.OpenAPI {
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "klingwatch", Version: Version,
			Description: "klingwatch follows generation tasks at Kling relays to their end. Everything here is also in Postgres, schema klingwatch, under the same names.",
		},
		Servers: []*huma.Server{{URL: "/", Description: "where this document comes from"}},
		Tags: []*huma.Tag{
			{Name: "tasks", Description: "Generation tasks at relays."},
			{Name: "events", Description: "What happens to tasks, in its order: the feed."},
			{Name: "outputs", Description: "Files of tasks that succeeded."},
			{Name: "deliveries", Description: "Webhooks, with their attempts."},
			{Name: "endpoints", Description: "Receivers of the events of all tasks."},
			{Name: "relays", Description: "Where tasks are asked about."},
			{Name: "reports", Description: "Summaries, as in the views of SQL."},
			{Name: "actions", Description: "What is done to many tasks or deliveries."},
		},
		Components: &huma.Components{
			Schemas: huma.NewMapRegistry("#/components/schemas/", func(t reflect.Type, hint string) string { return huma.DefaultSchemaNamer(t, hint) }),
			SecuritySchemes: map[string]*huma.SecurityScheme{"link": {
				Type: "apiKey", In: "query", Name: "signature", Description: "Of a link to one file, which klingwatch outputs link makes; with expires.",
			}, "key": {
				Type: "http", Scheme: "bearer", BearerFormat: "kw_...", Description: "A key of klingwatch api-keys add. x-scope of an operation is the scope that it needs: read, write or admin. Where x-all-apps is true, a key that is restricted to an app is refused.",
			}},
		},
	}
}
