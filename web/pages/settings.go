package pages

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/readable"
	"github.com/klingwatch/klingwatch/webhook"
)

// settingsPage is who may use this deployment, and what it is.
type settingsPage struct {
	shell
	Keys, Refused []keyRow // those that may be used, and those that may not any more
	Form          keyForm  // of a new one
	Made          *madeKey // nil: none was
	Facts         deploymentFacts
	Signing       []signingKey
}

// keyRow is an API key as it is shown.
type keyRow struct {
	db.APIKey
	Own bool // the person logged in with it
}

// State is how it is: a key of the words, after "key.".
func (k keyRow) State() string {
	switch {
	case k.RevokedAt != nil:
		return "revoked"
	case k.ExpiresAt != nil && !k.ExpiresAt.After(time.Now()):
		return "expired"
	}
	return "valid"
}

// madeKey is a key in the answer that made it: its text is shown there and nowhere else.
type madeKey struct {
	db.APIKey
	Text string
}

// keyForm is what is entered about a key.
type keyForm struct {
	Scopes          []string // that there are
	Name, Scope     string
	App, Life       string // as typed; "": all apps, and for ever
	Problem, Detail string // a key of the words, and what operate says; "": nothing is wrong
}

func readKeyForm(r *http.Request) keyForm {
	return keyForm{
		Scopes: db.Scopes, Name: strings.TrimSpace(r.PostFormValue("name")), Scope: r.PostFormValue("scope"),
		App: strings.TrimSpace(r.PostFormValue("app")), Life: strings.TrimSpace(r.PostFormValue("life")),
	}
}

// key is the key that the form asks for.
func (f keyForm) key() (n operate.NewAPIKey, err error) {
	n = operate.NewAPIKey{Name: f.Name, Scope: f.Scope, App: f.App}
	if f.Life == "" {
		return n, nil
	}
	if n.Life, err = readable.ParseDuration(f.Life); err != nil || n.Life <= 0 {
		return n, &refusal{http.StatusUnprocessableEntity, "error.life"}
	}
	return n, nil
}

// deploymentFacts are what a deployment is.
type deploymentFacts struct {
	About
	Step                       string // of the database's schema
	Files                      string // where they are kept; "": nowhere
	PollInterval, TaskDeadline time.Duration
	PollRate                   float64
}

// signingKey is a public key that receivers verify with.
type signingKey struct {
	db.SigningKey
	KeyID string // as in the set of keys
}

func (p *Pages) showSettings(v *visit) error {
	return v.settingsPage(http.StatusOK, func(*settingsPage) {})
}

// settingsPage answers with the settings, changed before they are shown.
func (v *visit) settingsPage(status int, change func(*settingsPage)) error {
	ctx, cancel := v.within()
	defer cancel()
	page := settingsPage{shell: v.shell("settings"), Form: keyForm{Scopes: db.Scopes, Scope: db.ScopeRead}}
	keys, err := operate.ListAPIKeys(ctx, v.Pool)
	if err != nil {
		return err
	}
	for _, key := range keys {
		row := keyRow{key, key.ID == v.key.ID}
		switch {
		case !row.Own && !page.May(db.ScopeAdmin): // who has which key is for those who administer
		case row.State() == "valid":
			page.Keys = append(page.Keys, row)
		default:
			page.Refused = append(page.Refused, row)
		}
	}
	if page.Facts, err = v.facts(ctx); err != nil {
		return err
	}
	page.Signing = v.signingKeys(ctx)
	change(&page)
	return v.render(status, "settings", page)
}

func (v *visit) facts(ctx context.Context) (deploymentFacts, error) {
	f := deploymentFacts{About: v.About, PollInterval: v.PollInterval, PollRate: v.PollRate, TaskDeadline: v.TaskDeadline}
	if v.Archive != nil {
		f.Files = v.Archive.String()
	}
	var err error
	f.Step, err = db.SchemaStep(ctx, v.Pool)
	return f, err
}

// signingKeys are those that receivers may verify v1a with; none where they cannot be read,
// which hides nothing else.
func (v *visit) signingKeys(ctx context.Context) (keys []signingKey) {
	public, err := operate.PublicSigningKeys(ctx, v.Pool, v.Keyring)
	for _, key := range public {
		id, idErr := webhook.KeyID(key.Secret)
		if idErr != nil {
			err = idErr
			continue
		}
		keys = append(keys, signingKey{key, id})
	}
	if err != nil {
		v.Log.Warn("a page cannot show the public keys", "error", err)
	}
	return keys
}

// addKey shows the key in its answer, and nowhere else.
func (p *Pages) addKey(v *visit) error {
	form := readKeyForm(v.r)
	n, err := form.key()
	var key db.APIKey
	var text string
	if err == nil {
		key, text, err = operate.AddAPIKey(v.r.Context(), p.Pool, n)
	}
	if err == nil {
		return v.settingsPage(http.StatusOK, func(page *settingsPage) { page.Made = &madeKey{key, text} })
	}
	status, why, detail := statusOf(err)
	if status != http.StatusUnprocessableEntity {
		return err
	}
	form.Problem, form.Detail = why, detail
	return v.settingsPage(status, func(page *settingsPage) { page.Form = form })
}

// revokePage asks whether a key is to be revoked.
type revokePage struct {
	shell
	keyRow
	Last bool // no other key administers
}

func (p *Pages) askToRevokeKey(v *visit) error {
	ctx, cancel := v.within()
	defer cancel()
	keys, err := operate.ListAPIKeys(ctx, p.Pool)
	if err != nil {
		return err
	}
	page := revokePage{shell: v.shell("settings"), Last: true}
	for _, key := range keys {
		row := keyRow{key, key.ID == v.key.ID}
		if key.ID == v.r.PathValue("id") {
			page.keyRow = row
		} else if key.Scope == db.ScopeAdmin && row.State() == "valid" {
			page.Last = false
		}
	}
	if page.ID == "" || page.State() != "valid" {
		return db.ErrNotFound
	}
	return v.render(http.StatusOK, "key_revoke", page)
}

func (p *Pages) revokeKey(v *visit) error {
	id := v.r.PathValue("id")
	if err := operate.RevokeAPIKey(v.r.Context(), p.Pool, id); err != nil {
		return err
	}
	if id == v.key.ID {
		return v.redirect("/login", "")
	}
	return v.redirect("/settings", "key_revoked")
}
