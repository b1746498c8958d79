package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/callers"
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

// NoteAPIKey notes with which key a request came, for the access log.
func NoteAPIKey(ctx context.Context, id string) { visitOf(ctx).APIKey = id }

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
	if errors.Is(err, operate.ErrNoAPIKey) && o.byLink && a.Session != nil && r.Header.Get("Authorization") == "" {
		key, err = a.Session(r) // a page shows the file
	}
	if errors.Is(err, operate.ErrNoAPIKey) {
		return key, a.unauthorized(r)
	}
	if err != nil {
		refused, _ := errors.AsType[*Problem](a.problemOf(r.Context(), err))
		return key, refused
	}
	visitOf(r.Context()).APIKey = key.ID
	switch wait := a.callers.Take(key.ID); {
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

// Run ends what keys keep open that are revoked or expire, until ctx ends.
func (a *API) Run(ctx context.Context) { a.callers.Run(ctx, a.Pool) }

// Callers are those who use the API, with what they keep open.
func (a *API) Callers() *callers.Callers { return a.callers }

// hold counts what a caller keeps open. It returns a problem where there are too many.
func (a *API) hold(ctx context.Context, id string, what callers.Holding) (held context.Context, done func(), err error) {
	held, done, err = a.callers.Hold(ctx, id, what)
	if errors.Is(err, callers.ErrTooMany) {
		err = problem(tooManyConnections, "").retryAfter(time.Second)
	}
	return held, done, err
}
