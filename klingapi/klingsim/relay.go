package klingsim

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Config sets up a Relay. The zero value is a relay without faults that accepts any key.
type Config struct {
	Seed       uint64           // chooses lifetimes and random faults; zero: a random one, see Relay.Seed
	APIKey     string           // the bearer key that is accepted; empty: any non-empty key
	PathPrefix string           // in front of /{action}; empty: "/kling/v1"; "/": none
	PublicURL  string           // scheme and host of output URLs, like "http://localhost:9090"; empty: taken from each request
	Lifetime   time.Duration    // median time from the first request about a task to its end; each task has a factor of 0.5-2; zero: 5s
	FaultRate  float64          // share of queries, 0-1, that a small random fault answers; zero: none
	Latency    time.Duration    // upper bound of the random wait before an answer; zero: none
	FrontEnd   bool             // paths outside the prefix answer 200 with an HTML page, as at new-api, instead of 404
	Now        func() time.Time // the clock that tasks age by; nil: time.Now
}

const (
	defaultPrefix   = "/kling/v1" // the seed document's
	defaultLifetime = 5 * time.Second
)

// Unreachable makes SetOutage close connections without an answer.
const Unreachable = -1

// Relay is one simulated relay, an http.Handler. It is safe for concurrent use.
type Relay struct {
	config Config
	store  store

	key      atomic.Pointer[string]
	outage   atomic.Int64             // HTTP status, Unreachable, or 0
	throttle atomic.Pointer[throttle] // nil: off

	requests atomic.Int64
	followed atomic.Int64 // requests that followed a redirect
	withKey  atomic.Int64 // those of them that contained a key
	created  atomic.Uint64
}

type throttle struct{ retryAfter string }

// New returns a relay without tasks.
func New(config Config) *Relay {
	if config.Seed == 0 {
		config.Seed = uint64(rand.Uint32()) + 1 // short enough to type
	}
	if config.PathPrefix == "" {
		config.PathPrefix = defaultPrefix
	}
	config.PathPrefix = strings.TrimRight(config.PathPrefix, "/")
	config.PublicURL = strings.TrimRight(config.PublicURL, "/")
	if config.Lifetime <= 0 {
		config.Lifetime = defaultLifetime
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	relay := &Relay{config: config, store: newStore(generation)}
	relay.SetKey(config.APIKey)
	return relay
}

// Seed returns the seed in use, so that a run can be repeated.
func (r *Relay) Seed() uint64 { return r.config.Seed }

// SetKey changes the accepted bearer key, as if it were rotated. Empty: any non-empty key.
func (r *Relay) SetKey(key string) { r.key.Store(&key) }

// SetOutage answers every request to the API with this HTTP status, or closes the connection if it is Unreachable or not
// an HTTP status. Zero ends the outage. Tasks age meanwhile, but their words count only the queries before and after.
func (r *Relay) SetOutage(status int) { r.outage.Store(int64(status)) }

// SetThrottle answers every request to the API with 429 and code 1302 while it is on. retryAfter is the value of the
// header Retry-After: seconds, an HTTP date, or nonsense; empty: no such header.
func (r *Relay) SetThrottle(on bool, retryAfter string) {
	if !on {
		r.throttle.Store(nil)
		return
	}
	r.throttle.Store(&throttle{retryAfter})
}

// Requests returns the number of requests to the API so far, refused ones included; files do not count.
func (r *Relay) Requests() int { return int(r.requests.Load()) }

// Queries returns the number of GETs of one task id so far on all paths, including those refused or lost in an outage.
func (r *Relay) Queries(taskID string) int { return r.store.asked(taskID) }

// FollowedRedirects returns the number of requests that followed a redirect, and how many of them contained an
// Authorization header. A client that protects its key causes none.
func (r *Relay) FollowedRedirects() (followed, withKey int) {
	return int(r.followed.Load()), int(r.withKey.Load())
}

// ServeHTTP answers a request to the API, or for a file behind an output URL.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	// Not http.ServeMux, which would redirect ids that look like unclean paths.
	path := req.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(path, filesPath); ok {
		r.serveFile(w, req, rest)
		return
	}
	if strings.HasPrefix(path, movedPath) {
		r.serveMoved(w, req)
		return
	}
	if strings.HasPrefix(path, contentPath) && strings.HasSuffix(path, contentSuffix) {
		r.serveContent(w, req)
		return
	}
	if rest, ok := strings.CutPrefix(path, r.config.PathPrefix+"/"); ok {
		r.serveAPI(w, req, rest)
		return
	}
	if r.config.FrontEnd {
		frontEndPage.write(w)
		return
	}
	notFoundPage.write(w)
}

// serveContent serves new-api's own link to a file, to those who have the key.
func (r *Relay) serveContent(w http.ResponseWriter, req *http.Request) {
	if r.refusal(req.Header.Get("Authorization")) != 0 {
		jsonReply(http.StatusUnauthorized, item{"error": item{"message": "Invalid token", "type": "new_api_error", "code": ""}}).write(w)
		return
	}
	r.serveFile(w, req, "output.mp4")
}

// serveAPI answers for the relay as a whole, or else for the task.
func (r *Relay) serveAPI(w http.ResponseWriter, req *http.Request, path string) {
	number := r.requests.Add(1)
	kind, id := route(path)
	if slashed, rest := route(strings.TrimSuffix(path, "/")); id == "" && behaviourOf(rest)[groupTransport] == "slash" {
		kind, id = slashed, rest
	}
	q := &query{relay: r, w: w, req: req, kind: kind, number: uint64(number)}
	isQuery := kind != nil && id != "" && req.Method == http.MethodGet
	if isQuery {
		q.task = r.store.ask(kind, id)
	}

	if status := int(r.outage.Load()); status != 0 {
		q.outage(status)
		return
	}
	if code := r.refusal(req.Header.Get("Authorization")); code != 0 {
		q.refuse(code, "")
		return
	}
	if t := r.throttle.Load(); t != nil {
		q.refuse(codeRateTooHigh, t.retryAfter)
		return
	}

	switch {
	case isQuery:
		q.answer()
	case kind != nil && id == "" && req.Method == http.MethodPost:
		q.create()
	case kind != nil && req.Method != http.MethodGet:
		q.refuse(codeBadMethod, "")
	default:
		q.refuse(codeNoResource, "")
	}
}

// refusal returns the error code for an Authorization header, 0 if its key is accepted.
func (r *Relay) refusal(authorization string) int {
	scheme, key, _ := strings.Cut(authorization, " ")
	accepted := *r.key.Load()
	switch {
	case authorization == "":
		return codeAuthEmpty
	case !strings.EqualFold(scheme, "Bearer"):
		return codeAuthFailed
	case key == "":
		return codeAuthEmpty
	case accepted != "" && key != accepted:
		return codeAuthInvalid
	}
	return 0
}

// serveMoved serves the target of redirects, a login page, and counts the requests.
func (r *Relay) serveMoved(w http.ResponseWriter, req *http.Request) {
	r.followed.Add(1)
	if req.Header.Get("Authorization") != "" {
		r.withKey.Add(1)
	}
	page(http.StatusOK, loginHTML).write(w)
}
