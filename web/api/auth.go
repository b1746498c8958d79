package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/time/rate"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

const (
	// maxStreams and so on bound what one key keeps open at this process, and maxFiles
	// also what one signed link does.
	maxStreams = 100
	maxWaiting = 1000
	maxFiles   = 200
	// callerIdle is when a key that is not used any more is forgotten.
	callerIdle = 10 * time.Minute
)

type contextKey int

const (
	keyOfCaller contextKey = iota
	keyOfVisit
	keyOfLink
)

// Visit is what the access log learns about a request on its way.
type Visit struct {
	RequestID string
	APIKey    string // its id; "": none, or an invalid one
}

// WithVisit has the API note about a request what the access log wants to know.
func WithVisit(ctx context.Context, v *Visit) context.Context {
	return context.WithValue(ctx, keyOfVisit, v)
}

func visitOf(ctx context.Context) *Visit {
	if v, ok := ctx.Value(keyOfVisit).(*Visit); ok {
		return v
	}
	return &Visit{}
}

func requestID(ctx context.Context) string { return visitOf(ctx).RequestID }

// callerOf is the key that a request was made with.
func callerOf(ctx context.Context) db.APIKey {
	key, _ := ctx.Value(keyOfCaller).(db.APIKey)
	return key
}

// appOf is the app whose tasks alone the caller meets; "": it meets all.
func appOf(ctx context.Context) string {
	if app := callerOf(ctx).App; app != nil {
		return *app
	}
	return ""
}

// authorize lets only those keys pass that an operation is for.
func (a *API) authorize(o operation) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		if o.byLink && hasSignature(r) {
			until, err := a.checkLink(r)
			if err != nil {
				a.fail(w, r, err)
				return
			}
			next(huma.WithValue(ctx, keyOfLink, until))
			return
		}
		key, refused := a.admit(r, o)
		if refused != nil {
			writeProblem(w, refused)
			return
		}
		next(huma.WithValue(ctx, keyOfCaller, key))
	}
}

// admit returns the key of a request, or why it does not pass.
func (a *API) admit(r *http.Request, o operation) (db.APIKey, *Problem) {
	key, err := a.keyOf(r)
	if errors.Is(err, operate.ErrNoAPIKey) {
		return key, a.unauthorized(r)
	}
	if err != nil {
		refused, _ := errors.AsType[*Problem](a.problemOf(r.Context(), err))
		return key, refused
	}
	visitOf(r.Context()).APIKey = key.ID
	switch wait := a.callers.take(key.ID); {
	case wait > 0:
		return key, problem(tooManyRequests, "").retryAfter(wait)
	case !operate.Includes(key.Scope, o.scope):
		return key, problem(scopeMissing, "This needs a key of the scope "+o.scope+".").
			with("WWW-Authenticate", `Bearer realm="klingwatch", error="insufficient_scope", scope="`+o.scope+`"`)
	case o.allApps && key.App != nil:
		return key, problem(appRestricted, "")
	}
	return key, nil
}

// hasSignature tells whether a request comes by a signed link.
func hasSignature(r *http.Request) bool { return r.URL.Query().Has("signature") }

// checkLink returns until when the link of a request works, or a problem.
func (a *API) checkLink(r *http.Request) (time.Time, error) {
	query := r.URL.Query()
	until, err := operate.CheckLink(r.Context(), a.Pool, r.URL.Path, query.Get("expires"), query.Get("signature"), time.Now())
	if expired, ok := errors.AsType[operate.LinkExpired](err); ok {
		return until, problem(linkExpired, "It worked until "+expired.At.UTC().Format(time.RFC3339)+".")
	}
	if errors.Is(err, operate.ErrBadLink) {
		return until, problem(linkInvalid, "")
	}
	return until, err
}

// linkOf is until when the signed link works that a request came by; false: it came with
// a key.
func linkOf(ctx context.Context) (time.Time, bool) {
	until, ok := ctx.Value(keyOfLink).(time.Time)
	return until, ok
}

// keyOf returns the key that a request bears. It returns operate.ErrNoAPIKey.
func (a *API) keyOf(r *http.Request) (db.APIKey, error) {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return db.APIKey{}, operate.ErrNoAPIKey
	}
	return operate.UseAPIKey(r.Context(), a.Pool, strings.TrimSpace(text))
}

// unauthorized tells how to get a key, where there is none at all.
func (a *API) unauthorized(r *http.Request) *Problem {
	detail := ""
	if any, err := db.AnyAPIKey(r.Context(), a.Pool); err == nil && !any {
		detail = "There is no key yet. The operator makes one: klingwatch api-keys add NAME --scope read|write|admin"
	}
	challenge := `Bearer realm="klingwatch"`
	if r.Header.Get("Authorization") != "" {
		challenge += `, error="invalid_token"`
	}
	return problem(unauthorized, detail).with("WWW-Authenticate", challenge)
}

// callers are the keys that were used lately, with their limits.
type callers struct {
	rate  rate.Limit // 0: none
	mu    sync.Mutex
	known map[string]*caller
	swept time.Time
}

// What a caller keeps open.
type holding int

const (
	aStream holding = iota
	aWait
	aFile
)

// mostHeld bounds what one caller keeps open.
var mostHeld = [...]int{aStream: maxStreams, aWait: maxWaiting, aFile: maxFiles}

// caller is a key that was used lately, or a file to which a signed link leads.
type caller struct {
	limit *rate.Limiter
	used  time.Time
	held  [len(mostHeld)]int
	open  map[*int]context.CancelCauseFunc // of streams and waits
}

func newCallers(perSecond float64) *callers {
	return &callers{rate: rate.Limit(perSecond), known: map[string]*caller{}}
}

// take counts a request, and returns 0, or how long to wait before the next.
func (c *callers) take(id string) time.Duration {
	if c.rate == 0 {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	reservation := c.of(id).limit.Reserve()
	wait := reservation.Delay()
	if wait > 0 {
		reservation.Cancel()
	}
	return wait
}

// of returns a caller. The mutex is held.
func (c *callers) of(id string) *caller {
	now := time.Now()
	if now.Sub(c.swept) > callerIdle {
		c.swept = now
		for other, known := range c.known {
			if now.Sub(known.used) > callerIdle && known.held == [len(mostHeld)]int{} {
				delete(c.known, other)
			}
		}
	}
	known := c.known[id]
	if known == nil {
		known = &caller{limit: rate.NewLimiter(c.rate, max(1, int(2*c.rate))), open: map[*int]context.CancelCauseFunc{}}
		c.known[id] = known
	}
	known.used = now
	return known
}

// errKeyRefused ends what a key keeps open when it is revoked or expires.
var errKeyRefused = errors.New("the API key is refused from now on")

// hold counts what a key keeps open, until done is called. Its context ends when the key
// is refused. It returns a problem where there are too many.
func (c *callers) hold(ctx context.Context, id string, what holding) (held context.Context, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.of(id)
	if known.held[what] >= mostHeld[what] {
		return nil, nil, problem(tooManyConnections, "").retryAfter(time.Second)
	}
	known.held[what]++
	held, cancel := context.WithCancelCause(ctx)
	place := new(int)
	known.open[place] = cancel
	return held, func() {
		cancel(nil)
		c.mu.Lock()
		defer c.mu.Unlock()
		known.held[what]--
		delete(known.open, place)
	}, nil
}

// refuseEvery is how soon a key that is refused loses what it keeps open.
const refuseEvery = time.Second

// Run ends what keys keep open that are revoked or expire, until ctx ends. It asks the
// database once a second, only while something is open.
func (a *API) Run(ctx context.Context) {
	ticker := time.NewTicker(refuseEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		ids := a.callers.holding()
		if len(ids) == 0 {
			continue
		}
		refused, err := db.RefusedAPIKeys(ctx, a.Pool, ids)
		if err != nil {
			continue // an outage ends no stream; it is asked again in a moment
		}
		a.callers.release(refused)
	}
}

// holding returns the keys that keep something open.
func (c *callers) holding() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, known := range c.known {
		if len(known.open) > 0 && !isLink(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// isLink tells a caller by signed links, who is known by the path, from a key.
func isLink(caller string) bool { return strings.HasPrefix(caller, "/") }

// release ends what keys keep open.
func (c *callers) release(ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		for _, cancel := range c.known[id].open {
			cancel(errKeyRefused)
		}
	}
}
