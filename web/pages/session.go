package pages

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// Entry is a link that lets a person in who has no key.
type Entry struct {
	Token string
	// Key is the API key that the link logs in with, each time; "": it makes the first key,
	// once, and shows it.
	Key string

	used *atomic.Bool
}

// NewEntry returns an entry with a token of its own.
func NewEntry(key string) Entry { return Entry{Token: rand.Text(), Key: key, used: new(atomic.Bool)} }

// Path is where the entry is.
func (e Entry) Path() string { return "/login/" + e.Token }

func (e Entry) opens(token string) bool {
	return e.Token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(e.Token)) == 1 && !e.used.Load()
}

// The cookie of a session. Over TLS its name binds it to this host.
const (
	sessionCookie = "klingwatch"
	secureCookie  = "__Host-klingwatch"
)

// isSecure tells whether the browser speaks TLS, to us or to the proxy before us. Who lies
// about it keeps only the own cookie from being sent.
func isSecure(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

func cookieName(r *http.Request) string {
	if isSecure(r) {
		return secureCookie
	}
	return sessionCookie
}

// session is the key that the person logged in with, or operate.ErrNoAPIKey.
func (v *visit) session() (db.APIKey, error) { return v.SessionOf(v.r) }

// SessionOf is the API key that a request's cookie stands for, or operate.ErrNoAPIKey.
func (p *Pages) SessionOf(r *http.Request) (db.APIKey, error) {
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return db.APIKey{}, operate.ErrNoAPIKey
	}
	return operate.UseSession(r.Context(), p.Pool, cookie.Value, time.Now())
}

func (v *visit) setSession(key db.APIKey) error {
	text, expires, err := operate.OpenSession(v.r.Context(), v.Pool, key, time.Now())
	if err != nil {
		return err
	}
	v.setCookie(text, int(time.Until(expires).Seconds()))
	return nil
}

func (v *visit) setCookie(value string, maxAge int) {
	http.SetCookie(v.w, &http.Cookie{
		Name: cookieName(v.r), Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: isSecure(v.r), SameSite: http.SameSiteLaxMode,
	})
}

// loginPage asks for a key.
type loginPage struct {
	shell
	Next    string // where the person wanted to go
	Refused bool   // the key is not valid
	NoKey   bool   // there is none yet
}

func (p *Pages) showLogin(v *visit) error {
	return v.askForKey(http.StatusOK, v.r.FormValue("next"), false)
}

func (v *visit) askForKey(status int, next string, refused bool) error {
	any, err := db.AnyAPIKey(v.r.Context(), v.Pool)
	if err != nil {
		return err
	}
	return v.render(status, "login", loginPage{shell: v.shell("login"), Next: ownPath(next), Refused: refused, NoKey: !any})
}

func (p *Pages) logIn(v *visit) error {
	next := ownPath(v.r.FormValue("next"))
	key, err := operate.UseAPIKey(v.r.Context(), p.Pool, strings.TrimSpace(v.r.FormValue("key")))
	if errors.Is(err, operate.ErrNoAPIKey) {
		return v.askForKey(http.StatusUnauthorized, next, true)
	}
	if err != nil {
		return err
	}
	if err := v.setSession(key); err != nil {
		return err
	}
	return v.redirect(next, "")
}

func (p *Pages) logOut(v *visit) error {
	v.setCookie("", -1)
	return v.redirect("/login", "")
}

// ownPath is a path of ours to go on at: nobody is sent to another site.
func ownPath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\n\r\t") {
		return "/"
	}
	return next
}

// firstKeyName is the name of the key that the first link makes.
const firstKeyName = "first login"

// entryPage lets the first person in.
type entryPage struct {
	shell
	Made string // the key that was made, shown once; "": it is about to be made
}

func (p *Pages) showEntry(v *visit) error {
	switch {
	case !p.Entry.opens(v.r.PathValue("token")):
		return &refusal{http.StatusNotFound, "error.entry"}
	case p.Entry.Key == "":
		return v.render(http.StatusOK, "entry", entryPage{shell: v.shell("login")})
	}
	key, err := operate.UseAPIKey(v.r.Context(), p.Pool, p.Entry.Key)
	if err != nil {
		return err
	}
	if err := v.setSession(key); err != nil {
		return err
	}
	return v.redirect("/", "")
}

// enter makes the first key: by a form, since programs that look at links would use it up.
func (p *Pages) enter(v *visit) error {
	if p.Entry.Key != "" || !p.Entry.opens(v.r.PathValue("token")) {
		return &refusal{http.StatusNotFound, "error.entry"}
	}
	key, text, err := operate.AddFirstAPIKey(v.r.Context(), p.Pool, firstKeyName)
	if errors.Is(err, operate.ErrAnyAPIKey) {
		p.Entry.used.Store(true)
		return &refusal{http.StatusNotFound, "error.entry"}
	}
	if err != nil {
		return err
	}
	p.Entry.used.Store(true)
	if err := v.setSession(key); err != nil {
		return err
	}
	v.key = key
	return v.render(http.StatusOK, "entry", entryPage{shell: v.shell("login"), Made: text})
}
