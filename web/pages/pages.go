// Package pages shows what klingwatch knows to people, as HTML that works without
// JavaScript and is live with it.
//
//	p := pages.New(pages.Config{Pool: pool, Feed: events, ...})
//	mux.Handle("/", p)
//
// A page is a noun: NOUN.go asks for what it shows and does what its forms ask,
// templates/NOUN.html shows it, and words/NOUN.json says it in each language.
//
//	guard.go    who may see and do what
//	session.go  logging in, with an API key
//	render.go   templates, and the answer to what went wrong
//	live.go     one stream per tab, of parts that have changed
package pages

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/doctor"
	"github.com/klingwatch/klingwatch/feed"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/callers"
	"github.com/klingwatch/klingwatch/web/pages/assets"
	"github.com/klingwatch/klingwatch/web/pages/board"
	"github.com/klingwatch/klingwatch/web/pages/memory"
	"github.com/klingwatch/klingwatch/webhook"
)

// Config is what the pages stand on.
type Config struct {
	Pool         *pgxpool.Pool
	Feed         *feed.Feed
	Log          *slog.Logger
	Keyring      *keyring.Keyring
	Webhooks     *webhook.Client // sends test webhooks
	Archive      archive.Store   // where files are kept; nil: nowhere
	FilesAt      string          // origin that the store sends browsers to for files, see archive.Origin; "": none
	TaskDeadline time.Duration   // KLINGWATCH_TASK_DEADLINE
	PollInterval time.Duration   // KLINGWATCH_POLL_INTERVAL
	PollRate     float64         // KLINGWATCH_POLL_RATE, of the relay default
	UserAgent    string          // of webhooks
	About        About
	Jobs         http.Handler // the page of River's jobs; nil: there is none
	// Doctor checks everything that klingwatch depends on.
	Doctor func(context.Context) []doctor.Finding
	Entry  Entry
	// CheckRelay asks a relay with its key, and tells what came back.
	CheckRelay func(ctx context.Context, name string) (CheckedRelay, error)
	// Callers count the streams of keys, and end them when a key is refused.
	Callers *callers.Callers
	// SeeVisit is told of a request with whose API key it came, for the access log.
	SeeVisit func(ctx context.Context, apiKey string)
}

// About is what people are told of the deployment. None of it is a secret.
type About struct {
	Version           string
	PublicURL         string        // where others reach it, without a slash at its end; "": not said
	Encrypted         bool          // stored secrets are
	Retention         time.Duration // of finished tasks; 0: for ever
	ArchiveRetention  time.Duration // of kept files; 0: as long as their tasks
	DeliveryRetention time.Duration // of finished deliveries; 0: for ever
}

// Pages serves all pages.
type Pages struct {
	Config
	mux    *http.ServeMux
	routes []Route
	views  map[string]liveView

	schedules *memory.Memory[operate.Schedules]
	reports   *memory.Memory[readReport]
	board     *board.Board
	rendered  renderedBoards
}

// Route is a pattern of the mux and who passes it.
type Route struct {
	Pattern string
	Scope   string // that a key needs; "": anybody passes
	AllApps bool   // refused to a key that is restricted to an app

	long bool // it answers for as long as it likes
}

// New returns the pages.
func New(cfg Config) *Pages {
	p := &Pages{
		Config: cfg, mux: http.NewServeMux(), views: map[string]liveView{}, board: board.New(cfg.Pool, cfg.Doctor, cfg.Log),
		schedules: memory.New[operate.Schedules](relearnAfter, relearnAfter, pageLimit, 1, cfg.Log),
		reports:   memory.New[readReport](reportFresh, reportStale, pageLimit, mostReports, cfg.Log),
	}
	p.mux.HandleFunc("GET "+assets.Root, assets.Serve)

	p.open("GET /login", p.showLogin)
	p.open("POST /login", p.logIn)
	p.open("GET /login/{token}", p.showEntry)
	p.open("POST /login/{token}", p.enter)
	p.open("POST /logout", p.logOut)
	p.open("POST /language", p.chooseLanguage)

	const allApps = true
	p.route("GET /{$}", db.ScopeRead, allApps, p.showOverview)
	p.route("GET /tasks", db.ScopeRead, !allApps, p.listTasks)
	p.route("GET /tasks/{id}", db.ScopeRead, !allApps, p.showTask)
	p.route("POST /tasks/{id}/cancel", db.ScopeWrite, !allApps, p.cancelTask)
	p.route("POST /tasks/{id}/retry", db.ScopeWrite, !allApps, p.retryTask)
	p.route("GET /gallery", db.ScopeRead, !allApps, p.showGallery)
	p.route("GET /gallery/{task}/{kind}/{position}", db.ScopeRead, !allApps, p.showFile)
	p.route("GET /deliveries", db.ScopeRead, allApps, p.listDeliveries)
	p.route("GET /deliveries/{id}", db.ScopeRead, allApps, p.showDelivery)
	p.route("POST /deliveries/{id}/redeliver", db.ScopeWrite, allApps, p.redeliver)
	p.route("POST /deliveries/{id}/cancel", db.ScopeWrite, allApps, p.cancelDelivery)
	p.route("POST /deliveries/{id}/curl", db.ScopeWrite, allApps, p.curlDelivery)
	p.route("GET /relays", db.ScopeRead, allApps, p.listRelays)
	p.route("GET /relays/new", db.ScopeAdmin, allApps, p.newRelay)
	p.route("POST /relays", db.ScopeAdmin, allApps, p.addRelay)
	p.route("GET /relays/{name}", db.ScopeRead, allApps, p.showRelay)
	p.route("POST /relays/{name}/check", db.ScopeWrite, allApps, p.checkRelay)
	p.route("POST /relays/{name}/edit", db.ScopeAdmin, allApps, p.editRelay)
	p.route("GET /relays/{name}/remove", db.ScopeAdmin, allApps, p.confirmRelayRemoval)
	p.route("POST /relays/{name}/remove", db.ScopeAdmin, allApps, p.removeRelay)
	p.route("POST /relays/{name}/callback", db.ScopeAdmin, allApps, p.makeCallback)
	p.route("POST /relays/{name}/callback/revoke", db.ScopeAdmin, allApps, p.revokeCallback)
	p.route("POST /relays/{name}/callback/secret", db.ScopeAdmin, allApps, p.signCallback)
	p.route("GET /actions", db.ScopeRead, allApps, p.listActions)
	p.route("GET /actions/new", db.ScopeWrite, !allApps, p.confirmAction)
	p.route("POST /actions", db.ScopeWrite, !allApps, p.beginAction)
	p.route("GET /actions/{id}", db.ScopeRead, !allApps, p.showAction)
	p.route("POST /actions/{id}/stop", db.ScopeWrite, !allApps, p.stopAction)
	p.route("GET /endpoints", db.ScopeRead, allApps, p.listEndpoints)
	p.route("POST /endpoints", db.ScopeAdmin, allApps, p.addEndpoint)
	p.route("GET /endpoints/{id}", db.ScopeRead, allApps, p.showEndpoint)
	p.route("POST /endpoints/{id}", db.ScopeAdmin, allApps, p.editEndpoint)
	p.route("POST /endpoints/{id}/enable", db.ScopeWrite, allApps, p.enableEndpoint)
	p.route("POST /endpoints/{id}/disable", db.ScopeWrite, allApps, p.disableEndpoint)
	p.route("POST /endpoints/{id}/ping", db.ScopeWrite, allApps, p.pingEndpoint)
	p.route("POST /endpoints/{id}/rotate", db.ScopeAdmin, allApps, p.rotateEndpoint)
	p.route("GET /endpoints/{id}/remove", db.ScopeAdmin, allApps, p.askToRemoveEndpoint)
	p.route("POST /endpoints/{id}/remove", db.ScopeAdmin, allApps, p.removeEndpoint)
	p.route("GET /reports", db.ScopeRead, allApps, p.listReports)
	p.route("GET /reports/{name}", db.ScopeRead, allApps, p.showReport)
	p.route("GET /reports/{name}/csv", db.ScopeRead, allApps, p.downloadReport)
	p.route("GET /settings", db.ScopeRead, allApps, p.showSettings)
	p.route("POST /settings/keys", db.ScopeAdmin, allApps, p.addKey)
	p.route("GET /settings/keys/{id}/revoke", db.ScopeAdmin, allApps, p.askToRevokeKey)
	p.route("POST /settings/keys/{id}/revoke", db.ScopeAdmin, allApps, p.revokeKey)
	p.stay("GET /live", db.ScopeRead, !allApps, p.live)

	p.views["overview"] = p.liveOverview
	p.views["tasks"] = p.liveTasks
	p.views["task"] = p.liveTask
	p.views["actions"] = p.liveActions
	p.views["action"] = p.liveAction
	p.views["gallery"] = p.liveGallery
	p.views["deliveries"] = p.liveDeliveries
	p.views["delivery"] = p.liveDelivery
	p.views["endpoints"] = p.liveEndpoints
	if p.Jobs != nil {
		p.jobs("GET /jobs/", db.ScopeRead)
		p.jobs("/jobs/", db.ScopeAdmin)
	}
	p.open("/", p.missing)
	return p
}

// Routes are all routes, for the test that walks them.
func (p *Pages) Routes() []Route { return p.routes }

// ServeHTTP serves the pages.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }
