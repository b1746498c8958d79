package pages

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/pages/assets"
	"github.com/klingwatch/klingwatch/web/pages/show"
	"github.com/klingwatch/klingwatch/web/pages/words"
	"github.com/klingwatch/klingwatch/webhook"
)

//go:embed templates/*.html
var templateFiles embed.FS

// sharedTemplates are part of every page.
const sharedTemplates = "templates/shared.html"

// templates are the pages, by language and name.
var templates = parse()

func parse() map[string]map[string]*template.Template {
	all := map[string]map[string]*template.Template{}
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err)
	}
	for _, lang := range words.Languages {
		all[lang] = map[string]*template.Template{}
		for _, file := range files {
			at := "templates/" + file.Name()
			if at == sharedTemplates {
				continue
			}
			name := strings.TrimSuffix(file.Name(), path.Ext(at))
			all[lang][name] = template.Must(template.New(name).Funcs(functions(lang, name)).ParseFS(templateFiles, sharedTemplates, at))
		}
	}
	return all
}

// functions are what templates may call.
func functions(lang, page string) template.FuncMap {
	return template.FuncMap{
		"t":             func(key string, args ...any) any { return words.Say(lang, page, key, args...) },
		"asset":         assets.Path,
		"ago":           func(at any) template.HTML { return show.Ago(lang, at, time.Now()) },
		"at":            func(at any) template.HTML { return show.At(at) },
		"took":          func(d any) string { return show.Took(lang, d) },
		"span":          show.Span,
		"rate":          show.Rate,
		"number":        show.Number,
		"bytes":         show.Bytes,
		"percent":       show.Percent,
		"decimal":       show.Decimal,
		"join":          strings.Join,
		"bars":          show.Bars,
		"spark":         show.Spark,
		"pretty":        show.Pretty,
		"steps":         func(steps []show.Step) template.HTML { return show.Steps(lang, steps) },
		"orNone":        show.Or,
		"deref":         show.Deref,
		"dict":          show.Dict,
		"list":          func(items ...any) []any { return items },
		"has":           func(key string) bool { return words.Has(page, key) },
		"contentPath":   contentPath,
		"thumbnailPath": func(o db.Output) string { return webhook.ThumbnailPath(o.Task, o.Kind, o.Position) },
		"expiring":      expiring,
		"scriptwords":   func() map[string]any { return scriptWords(lang) },
	}
}

// contentPath is where the API serves a kept file.
func contentPath(o db.Output) string { return webhook.ContentPath(o.Task, o.Kind, o.Position) }

// expiring is what is said of the time when the provider deletes a file, or has.
func expiring(at *time.Time) string {
	if at != nil && at.Before(time.Now()) {
		return "expired_at"
	}
	return "expires"
}

// scriptWords are what the script says.
func scriptWords(lang string) map[string]any {
	said := map[string]any{}
	for _, key := range []string{
		"now", "ago", "in", "day", "days", "h", "min", "s", "live_on", "live_lost", "live_paused", "live_waits", "live_pause", "live_resume", "copied", "chosen",
	} {
		said[key] = words.Say(lang, words.Common, key)
	}
	return said
}

// shell is what every page shows around itself. Data of pages embed it.
type shell struct {
	Page     string // the noun, of the menu
	Path     string // with its query
	Key      db.APIKey
	Language string
	Said     string // what was just done: a key of the words
	Live     string // address of the live stream; "": the page is not live
	Seen     int64  // the event after which the stream begins
	Reload   int    // seconds after which a browser without JavaScript asks again; 0: never
	Jobs     bool   // there is a page of River's jobs
}

// May tells whether the person may do what needs a scope.
func (s shell) May(scope string) bool { return s.Key.ID != "" && operate.Includes(s.Key.Scope, scope) }

// LoggedIn tells whether somebody is.
func (s shell) LoggedIn() bool { return s.Key.ID != "" }

// AllApps tells whether the person meets the tasks of all apps.
func (s shell) AllApps() bool { return s.Key.App == nil }

func (v *visit) shell(page string) shell {
	s := shell{Page: page, Path: v.r.URL.RequestURI(), Key: v.key, Language: v.lang, Seen: v.seen, Jobs: v.Jobs != nil}
	if done := v.r.URL.Query().Get("done"); words.Has(words.Common, "done."+done) {
		s.Said = "done." + done
	}
	return s
}

// liveAt is the address of the stream of a view.
func liveAt(view string, query url.Values) string {
	if query == nil {
		query = url.Values{}
	}
	query.Set("view", view)
	return "/live?" + query.Encode()
}

// render answers with a page. It is made before it is sent, so that a fault is not half
// a page.
func (v *visit) render(status int, name string, data any) error {
	var page bytes.Buffer
	if err := templates[v.lang][name].ExecuteTemplate(&page, "layout", data); err != nil {
		return err
	}
	v.send(status, "text/html; charset=utf-8", page.Bytes())
	return nil
}

// part renders a template of a page alone.
func part(lang, page, name string, data any) (string, error) {
	var text bytes.Buffer
	err := templates[lang][page].ExecuteTemplate(&text, name, data)
	return strings.TrimSpace(text.String()), err
}

var compressors = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

func (v *visit) send(status int, media string, body []byte) {
	h := v.w.Header()
	h.Set("Content-Type", media)
	h.Set("Vary", "Accept-Encoding, Accept-Language, Cookie")
	if strings.Contains(v.r.Header.Get("Accept-Encoding"), "gzip") {
		var small bytes.Buffer
		w := compressors.Get().(*gzip.Writer)
		w.Reset(&small)
		_, _ = w.Write(body) // to memory
		_ = w.Close()
		compressors.Put(w)
		body = small.Bytes()
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	v.w.WriteHeader(status)
	_, _ = v.w.Write(body)
}

// refusal is an answer "no", with the key of the words that say why.
type refusal struct {
	status int
	why    string
}

func (r *refusal) Error() string { return r.why }

// errorPage says what went wrong.
type errorPage struct {
	shell
	Status int
	Why    string // a key of the words
	Detail string // what operate says of it, in English; "": nothing
}

// statusOf maps what went wrong to a status and to words. It is the one such map.
func statusOf(err error) (status int, why, detail string) {
	refused, isRefusal := errors.AsType[*refusal](err)
	no, isNo := errors.AsType[*operate.Error](err)
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case isRefusal:
		return refused.status, refused.why, ""
	case isNo && no.Code == operate.NotFound:
		return http.StatusNotFound, "error.not_found", ""
	case isNo && no.Code == operate.Invalid:
		return http.StatusUnprocessableEntity, "error.invalid", no.Error()
	case isNo:
		return http.StatusConflict, "error.conflict", no.Error()
	case errors.Is(err, db.ErrNotFound):
		return http.StatusNotFound, "error.not_found", ""
	case tooLarge:
		return http.StatusRequestEntityTooLarge, "error.too_large", ""
	case db.RefusedValue(err):
		return http.StatusUnprocessableEntity, "error.invalid", operate.RuleOf(err)
	case db.OutageOf(err) != db.NoOutage, db.RowLocked(err), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "error.unavailable", ""
	}
	return http.StatusInternalServerError, "error.internal", ""
}

// isGone tells whether what was asked for is not there, or not any more.
func isGone(err error) bool {
	status, _, _ := statusOf(err)
	return err != nil && status == http.StatusNotFound
}

// fail answers with what went wrong.
func (v *visit) fail(err error) {
	switch {
	case errors.Is(err, errAnswered):
		return
	case errors.Is(err, errLoggedOut):
		v.askToLogIn()
		return
	case v.gone.Err() != nil:
		return // nobody waits for the answer
	}
	status, why, detail := statusOf(err)
	if status >= http.StatusInternalServerError {
		v.Log.Error("a page failed", "route", v.r.Pattern, "error", err)
	}
	s := v.shell("error")
	if status == http.StatusServiceUnavailable {
		v.w.Header().Set("Retry-After", "5")
	}
	if err := v.render(status, "error", errorPage{shell: s, Status: status, Why: why, Detail: detail}); err != nil {
		v.Log.Error("the page of an error failed", "error", err)
		http.Error(v.w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}

// askToLogIn sends a person to the page for it. What a form was to do is not done.
func (v *visit) askToLogIn() {
	if v.r.Method == http.MethodGet && v.r.URL.Path != "/live" {
		next := "/login"
		if at := v.r.URL.RequestURI(); at != "/" {
			next += "?next=" + url.QueryEscape(at)
		}
		http.Redirect(v.w, v.r, next, http.StatusSeeOther)
		return
	}
	if v.r.URL.Path == "/live" {
		http.Error(v.w, "Log in again.", http.StatusUnauthorized)
		return
	}
	if err := v.askForKey(http.StatusUnauthorized, v.back("/"), false); err != nil {
		v.fail(err)
	}
}

// missing answers for what is not there.
func (p *Pages) missing(v *visit) error { return &refusal{http.StatusNotFound, "error.not_found"} }
