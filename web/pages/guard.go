package pages

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/pages/words"
)

// policyWith is what a page may load and where its forms go: nothing but ours, and kept
// files from where the store has them.
func policyWith(filesAt string) string {
	files := strings.TrimSpace("'self' " + filesAt)
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src " + files + " data:; media-src " + files + "; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// maxForm bounds the body of a form, in bytes.
const maxForm = 64 << 10

// visit is a request for a page.
type visit struct {
	*Pages
	w    http.ResponseWriter
	r    *http.Request
	key  db.APIKey // that the person logged in with; the zero value: nobody has
	lang string
	// seen is the last event that the page knows of: its stream goes on after it. 0: unknown.
	seen int64
	// gone ends when the person does not wait for the answer any more.
	gone context.Context
}

// handler answers a visit, or returns what went wrong.
type handler func(*visit) error

// open adds a route that needs nobody logged in.
func (p *Pages) open(pattern string, h handler) { p.add(Route{Pattern: pattern}, h) }

// stay adds a route as route does, whose answer takes as long as it likes.
func (p *Pages) stay(pattern, scope string, allApps bool, h handler) {
	p.add(Route{pattern, scope, allApps, true}, h)
}

// route adds a route for those whose key has a scope; where allApps, a key that is
// restricted to an app does not do.
func (p *Pages) route(pattern, scope string, allApps bool, h handler) {
	p.add(Route{pattern, scope, allApps, false}, h)
}

func (p *Pages) add(route Route, h handler) {
	p.routes = append(p.routes, route)
	crossOrigin := http.NewCrossOriginProtection()
	limit := lookLimit
	if strings.HasPrefix(route.Pattern, http.MethodPost) {
		limit = actLimit
	}
	p.mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
		v := &visit{Pages: p, w: w, r: r, lang: languageOf(r), gone: r.Context()}
		if !route.long {
			ctx, cancel := context.WithTimeout(r.Context(), limit)
			defer cancel()
			v.r = r.WithContext(ctx)
		}
		v.head()
		err := crossOrigin.Check(v.r)
		if err != nil {
			err = &refusal{http.StatusForbidden, "error.cross_site"}
		}
		if err == nil {
			err = v.admit(route)
		}
		if err == nil && route.Scope != "" && !route.long && r.Method == http.MethodGet {
			v.seen, err = db.FeedEnd(v.r.Context(), p.Pool) // before the page reads anything else
		}
		if err == nil {
			err = h(v)
		}
		if err != nil {
			v.fail(err)
		}
	})
}

// jobs adds River's page, which has its own rules about what it may load and who may send
// to it.
func (p *Pages) jobs(pattern, scope string) {
	p.stay(pattern, scope, true, func(v *visit) error {
		for name := range v.w.Header() {
			v.w.Header().Del(name)
		}
		p.Jobs.ServeHTTP(v.w, v.r)
		return errAnswered
	})
}

// head sets what every answer says.
func (v *visit) head() {
	h := v.w.Header()
	h.Set("Content-Security-Policy", policyWith(v.FilesAt))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
}

// admit lets those pass that a route is for. Whoever is not logged in is asked to.
func (v *visit) admit(route Route) error {
	key, err := v.session()
	switch {
	case err == nil:
		v.key = key
		if v.SeeVisit != nil {
			v.SeeVisit(v.r.Context(), key.ID)
		}
	case !errors.Is(err, operate.ErrNoAPIKey):
		return err
	case route.Scope == "":
		return nil
	default:
		return errLoggedOut
	}
	switch {
	case route.Scope != "" && !operate.Includes(key.Scope, route.Scope):
		return &refusal{http.StatusForbidden, "error.scope_" + route.Scope}
	case route.AllApps && key.App != nil && v.r.URL.Path == "/":
		return v.redirect("/tasks", "")
	case route.AllApps && key.App != nil:
		return &refusal{http.StatusForbidden, "error.app"}
	}
	return nil
}

// errLoggedOut sends a person to the page for logging in.
var errLoggedOut = errors.New("nobody is logged in")

// errAnswered says that a visit was answered before its handler.
var errAnswered = errors.New("answered")

// app is the app whose tasks alone the person meets; "": they meet all.
func (v *visit) app() string {
	if v.key.App != nil {
		return *v.key.App
	}
	return ""
}

// redirect goes on at a path, which says what was done: a key of the words of common.
func (v *visit) redirect(path, done string) error {
	if done != "" {
		at, err := url.Parse(path)
		if err != nil {
			return err
		}
		query := at.Query()
		query.Set("done", done)
		at.RawQuery = query.Encode()
		path = at.String()
	}
	http.Redirect(v.w, v.r, path, http.StatusSeeOther)
	return errAnswered
}

// back returns the page that a form was sent from, if it is ours, else another.
func (v *visit) back(other string) string {
	at, err := url.Parse(v.r.Referer())
	if err != nil || at.Host != v.r.Host || at.Path == "" || strings.HasPrefix(at.Path, "//") {
		return other
	}
	_, pattern := v.mux.Handler(&http.Request{Method: http.MethodGet, URL: at, Host: v.r.Host})
	if !strings.HasPrefix(pattern, http.MethodGet) { // it was the answer to a form
		return other
	}
	query := at.Query()
	query.Del("done")
	return (&url.URL{Path: at.Path, RawQuery: query.Encode()}).String()
}

// languageOf is what the person has chosen, or the browser.
func languageOf(r *http.Request) string {
	chosen := ""
	if cookie, err := r.Cookie(languageCookie); err == nil {
		chosen = cookie.Value
	}
	return words.Choose(chosen, r.Header.Get("Accept-Language"))
}

const languageCookie = "klingwatch-language"

func (p *Pages) chooseLanguage(v *visit) error {
	http.SetCookie(v.w, &http.Cookie{
		Name: languageCookie, Value: words.Choose(v.r.FormValue("language"), ""), Path: "/", MaxAge: int((365 * 24 * time.Hour).Seconds()), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return v.redirect(v.back("/"), "")
}

// within bounds what a page asks the database.
func (v *visit) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(v.r.Context(), pageLimit)
}

const (
	// pageLimit is how long a page waits for the database.
	pageLimit = 2 * time.Second
	// lookLimit is how long a page takes at most, and actLimit what a form asks for: receivers
	// and relays are waited for.
	lookLimit = 5 * time.Second
	actLimit  = 30 * time.Second
)

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
