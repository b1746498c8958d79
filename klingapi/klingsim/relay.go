package klingsim

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klingwatch/klingwatch/webhook"
)

// Config sets up a Relay. The zero value is a relay without faults that accepts any key.
type Config struct {
	Seed              uint64            // chooses lifetimes and random faults; zero: a random one, see Relay.Seed
	APIKey            string            // the bearer key that is accepted; empty: any non-empty key
	PathPrefix        string            // in front of /{action}; empty: "/kling/v1"; "/": none
	Dialect           Dialect           // paths, records and errors; empty: Kling; New panics at one that there is not
	MaxBatch          int               // most ids in one request (V3); a list of more gets 400, code 1201; 1: no batches; zero: 20
	PublicURL         string            // scheme and host of output URLs, like "http://localhost:9090"; empty: taken from each request
	Lifetime          time.Duration     // median time from the first request about a task to its end; each task has a factor of 0.5-2; zero: 5s
	FaultRate         float64           // share of queries, 0-1, that a small random fault answers; zero: none
	Latency           time.Duration     // upper bound of the random wait before an answer; zero: none
	CallbackURL       string            // where every change of status is posted; empty: only where the POST of a task says
	CallbackSecret    string            // whsec_ and base64: signs callbacks, as Kling does; empty: they are not signed; New panics at a malformed one
	CallbackTransport http.RoundTripper // sends callbacks; nil: http.DefaultTransport
	FileLife          time.Duration     // how long files are served after the end of their task; zero: 30 days, as at Kling
	FrontEnd          bool              // paths that are not served answer 200 with an HTML page, instead of 404; NewAPI always does that
	Now               func() time.Time  // the clock that tasks age by; nil: time.Now
}

const (
	defaultPrefix   = "/kling/v1" // the seed document's
	defaultLifetime = 5 * time.Second
	defaultMaxBatch = 20 // Kling's
)

// Unreachable makes SetOutage close connections without an answer.
const Unreachable = -1

// Relay is one simulated relay, an http.Handler. It is safe for concurrent use.
type Relay struct {
	config Config
	speech speech
	store  store

	key      atomic.Pointer[string]
	outage   atomic.Int64             // HTTP status, Unreachable, or 0
	throttle atomic.Pointer[throttle] // nil: off

	requests atomic.Int64
	askedIDs atomic.Int64
	largest  atomic.Int64 // most ids in one request
	followed atomic.Int64 // requests that followed a redirect
	withKey  atomic.Int64 // those of them that contained a key
	created  atomic.Uint64
	called   atomic.Int64 // callbacks

	cleared atomic.Int64 // files of tasks that ended before this time are gone, in milliseconds
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
	if config.Dialect == "" {
		config.Dialect = Kling
	}
	if config.MaxBatch <= 0 {
		config.MaxBatch = defaultMaxBatch
	}
	speech, ok := speeches[config.Dialect]
	if !ok {
		panic("klingsim: there is no dialect " + string(config.Dialect))
	}
	if config.CallbackSecret != "" {
		if _, err := webhook.Sign([]string{config.CallbackSecret}, "", time.Time{}, nil); err != nil {
			panic("klingsim: the secret of callbacks: " + err.Error())
		}
	}
	relay := &Relay{config: config, speech: speech, store: newStore(generation)}
	relay.store.shared = speech.shared
	relay.SetKey(config.APIKey)
	return relay
}

// Seed returns the seed in use, so that a run can be repeated.
func (r *Relay) Seed() uint64 { return r.config.Seed }

// SetKey changes the accepted bearer key, as if it were rotated. Empty: any non-empty key.
func (r *Relay) SetKey(key string) { r.key.Store(&key) }

// SetOutage answers every request to the API with this HTTP status and the dialect's error, or closes the connection if it is Unreachable or not
// an HTTP status. Zero ends the outage. Tasks age meanwhile, but their words count only the queries before and after.
func (r *Relay) SetOutage(status int) { r.outage.Store(int64(status)) }

// SetThrottle answers every request to the API with 429 and code 1302 while it is on, or what the dialect has for it. retryAfter is the value of the
// header Retry-After: seconds, an HTTP date, or nonsense; empty: no such header.
func (r *Relay) SetThrottle(on bool, retryAfter string) {
	if !on {
		r.throttle.Store(nil)
		return
	}
	r.throttle.Store(&throttle{retryAfter})
}

// ClearFiles deletes the files of all tasks that have ended, as Kling does it after 30 days. Those of later ones are served.
func (r *Relay) ClearFiles() { r.cleared.Store(r.config.Now().UnixMilli()) }

// Requests returns the number of requests to the API so far, refused ones included; a batch is one request. Files, and
// the pages on paths outside the API, do not count.
func (r *Relay) Requests() int { return int(r.requests.Load()) }

// AskedIDs returns the number of task ids in all requests so far, refused ones included: a batch of 20 counts 20.
func (r *Relay) AskedIDs() int { return int(r.askedIDs.Load()) }

// LargestBatch returns the most ids that one request has asked for so far, refused ones included.
func (r *Relay) LargestBatch() int { return int(r.largest.Load()) }

// Queries returns the number of GETs of one task id so far on all paths, alone or in a batch, including those refused or
// lost in an outage.
func (r *Relay) Queries(taskID string) int { return r.store.asked(taskID) }

// FollowedRedirects returns the number of requests that followed a redirect, and how many of them contained an
// Authorization header. A client that protects its key causes none.
func (r *Relay) FollowedRedirects() (followed, withKey int) {
	return int(r.followed.Load()), int(r.withKey.Load())
}

// ServeHTTP answers a request to the API, or for a file behind an output URL.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/" && req.Method == http.MethodGet {
		r.serveIndex(w)
		return
	}
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
	to, routed := r.speech.route(r, req)
	if !routed {
		r.speech.unrouted(r, path).write(w)
		return
	}
	r.serveAPI(w, req, to)
}

// serveIndex tells people what to ask for.
func (r *Relay) serveIndex(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(w, "This is a simulated Kling relay. Ask it about a task, with a bearer key:\n\n  GET %s\n\n"+
		"A task begins with the first request about it. Words at the start of its id, separated by -, choose what happens to it:\n\n", r.Example())
	for _, word := range Vocabulary() {
		_, _ = fmt.Fprintf(w, "  %-18s %s\n", word.Text, word.Meaning)
	}
}

// serveAPI answers for the relay as a whole, or else for the tasks.
func (r *Relay) serveAPI(w http.ResponseWriter, req *http.Request, to target) {
	q := &query{relay: r, w: w, req: req, to: to, kind: to.kind, number: uint64(r.requests.Add(1))}
	var asked batch
	if to.kind != nil && req.Method == http.MethodGet {
		asked = q.ask()
	}

	if status := int(r.outage.Load()); status != 0 {
		q.outage(status)
		return
	}
	if code := r.refusal(req.Header.Get("Authorization"), to); code != 0 {
		q.turnAway(code, "")
		return
	}
	if t := r.throttle.Load(); t != nil {
		q.turnAway(codeRateTooHigh, t.retryAfter)
		return
	}

	switch {
	case to.kind != nil && req.Method != http.MethodGet && (req.Method != http.MethodPost || len(to.ids) > 0 || to.list):
		q.turnAway(codeBadMethod, "")
	case to.refused(r.config.MaxBatch):
		q.turnAway(codeNotFound, "")
	case len(asked) > 1:
		asked.answer()
	case len(asked) == 1:
		asked[0].answer()
	case to.kind != nil && req.Method == http.MethodPost:
		q.create()
	default:
		q.turnAway(codeNoResource, "")
	}
}

// ask counts the ids of a request, and returns a query for each.
func (q *query) ask() batch {
	r := q.relay
	r.askedIDs.Add(int64(len(q.to.ids)))
	for largest := r.largest.Load(); int64(len(q.to.ids)) > largest && !r.largest.CompareAndSwap(largest, int64(len(q.to.ids))); {
		largest = r.largest.Load()
	}
	asked := make(batch, len(q.to.ids))
	for i, id := range q.to.ids {
		one := *q
		one.id = id
		if q.to.external {
			one.task = r.store.askExternal(q.kind, id, wordsOf(id)+r.speech.newID(r.chance(id, "external", 0)))
		} else {
			one.task = r.store.ask(q.kind, id)
		}
		if one.task != nil {
			one.kind = one.task.kind
		}
		asked[i] = &one
	}
	return asked
}

// refusal returns the error code for an Authorization header, 0 if its key is accepted.
func (r *Relay) refusal(authorization string, to target) int {
	scheme, key, _ := strings.Cut(authorization, " ")
	accepted := *r.key.Load()
	switch {
	case authorization == "":
		return codeAuthEmpty
	case !strings.EqualFold(scheme, "Bearer"):
		return codeAuthFailed
	case key == "":
		return codeAuthEmpty
	case accepted == "", key == accepted:
		return 0
	case r.config.Dialect == V3 && !to.family && isJWT(key):
		return 0 // the old paths take the tokens of an access key, whose signature is not checked; the new family does not
	}
	return codeAuthInvalid
}

// serveMoved serves the target of redirects, a login page, and counts the requests.
func (r *Relay) serveMoved(w http.ResponseWriter, req *http.Request) {
	r.followed.Add(1)
	if req.Header.Get("Authorization") != "" {
		r.withKey.Add(1)
	}
	page(http.StatusOK, loginHTML).write(w)
}
