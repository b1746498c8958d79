package pages

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/readable"
	"github.com/klingwatch/klingwatch/web/pages/show"
	"github.com/klingwatch/klingwatch/web/pages/words"
)

// checkPatience is how long a person waits for the answer of a relay that is checked.
const checkPatience = 20 * time.Second

// CheckedRelay is what asking a relay has shown.
type CheckedRelay struct {
	Found  string // one line
	Advice string // what to do; "": nothing is wrong
}

// relayRow is a relay as it is shown.
type relayRow struct {
	db.RelayState
	Needed   float64 // requests per second, to ask about each open task once per poll interval
	Callback db.RelayCallback
}

// Full tells whether its rate does not suffice.
func (r relayRow) Full() bool { return r.Needed > r.PollRate }

// Calls tells whether it may call.
func (r relayRow) Calls() bool { return r.Callback.TokenHash != nil }

// Signed tells whether its calls must be signed.
func (r relayRow) Signed() bool { return r.Callback.SigningSecret != nil }

// Settings tells whether it is the relay that the settings of the service describe.
func (r relayRow) Settings() bool { return r.Name == db.DefaultRelay }

// Kept is whether its files are kept: a key of the words.
func (r relayRow) Kept() string {
	switch {
	case r.Archive == nil:
		return "archive.usual"
	case *r.Archive:
		return "archive.on"
	}
	return "archive.off"
}

// Lifetime is how long it keeps files.
func (r relayRow) Lifetime() time.Duration {
	return time.Duration(r.OutputLifetime * float64(time.Second))
}

// relaysPage is the list of relays.
type relaysPage struct {
	shell
	Relays []relayRow
}

func (p *Pages) listRelays(v *visit) error {
	rows, err := v.relayRows()
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "relays", relaysPage{v.shell("relays"), rows})
}

func (v *visit) relayRows() ([]relayRow, error) {
	ctx, cancel := v.within()
	defer cancel()
	states, err := db.RelayStates(ctx, v.Pool)
	if err != nil {
		return nil, err
	}
	callbacks, err := db.RelayCallbacks(ctx, v.Pool)
	if err != nil {
		return nil, err
	}
	rows := make([]relayRow, len(states))
	for i, state := range states {
		rows[i] = relayRow{RelayState: state, Needed: float64(state.OpenTasks) / float64(max(state.BatchSize, 1)) / v.PollInterval.Seconds()}
		if at := slices.IndexFunc(callbacks, func(c db.RelayCallback) bool { return c.Relay == state.Name }); at >= 0 {
			rows[i].Callback = callbacks[at]
		}
	}
	return rows, nil
}

// relayPage is a relay with all that can be done to it.
type relayPage struct {
	shell
	relayRow
	Address string        // where it may call, with its token; "": not told, or no longer
	Checked *CheckedRelay // nil: it was not
}

func (v *visit) relayPage() (page relayPage, err error) {
	rows, err := v.relayRows()
	if err != nil {
		return page, err
	}
	at := slices.IndexFunc(rows, func(r relayRow) bool { return r.Name == v.r.PathValue("name") })
	if at < 0 {
		return page, db.ErrNotFound
	}
	return relayPage{shell: v.shell("relays"), relayRow: rows[at]}, nil
}

func (v *visit) relayPath() string { return "/relays/" + url.PathEscape(v.r.PathValue("name")) }

func (p *Pages) showRelay(v *visit) error {
	page, err := v.relayPage()
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "relay", page)
}

// checkRelay asks the relay, and shows what came back.
func (p *Pages) checkRelay(v *visit) error {
	page, err := v.relayPage()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), checkPatience)
	defer cancel()
	checked, err := p.CheckRelay(ctx, page.Name)
	if ctx.Err() != nil && v.r.Context().Err() == nil {
		return &refusal{http.StatusGatewayTimeout, "error.relay_silent"}
	}
	if err != nil {
		return err
	}
	page.Checked = &CheckedRelay{words.Translate(v.lang, checked.Found), words.Translate(v.lang, checked.Advice)}
	return v.render(http.StatusOK, "relay", page)
}

// relayForm asks for what a new relay needs.
type relayForm struct {
	shell
	Name, BaseURL, TaskPath, PollRate, Archive string // as entered
	Why, Detail                                string // what is wrong: a key of the words, and what operate says
}

func (p *Pages) newRelay(v *visit) error {
	return v.render(http.StatusOK, "relay_new", relayForm{shell: v.shell("relays")})
}

// addRelay shows what was entered, but not the key, beside what is wrong with it.
func (p *Pages) addRelay(v *visit) error {
	entered := func(name string) string { return strings.TrimSpace(v.r.PostFormValue(name)) }
	form := relayForm{
		shell: v.shell("relays"), Name: entered("name"), BaseURL: entered("base_url"), TaskPath: entered("task_path"), PollRate: entered("poll_rate"), Archive: entered("archive"),
	}
	n := operate.NewRelay{Name: form.Name, BaseURL: form.BaseURL, TaskPath: form.TaskPath, Archive: archiveChoice(form.Archive), Key: operate.RelayKey{Key: entered("key")}}
	var err error
	if n.PollRate, err = readRate(form.PollRate); err == nil {
		err = operate.AddRelay(v.r.Context(), p.Pool, p.Keyring, n)
	}
	if err == nil {
		return v.redirect("/relays/"+url.PathEscape(n.Name), "added")
	}
	var status int
	if status, form.Why, form.Detail = statusOf(err); status >= http.StatusInternalServerError {
		return err
	}
	return v.render(status, "relay_new", form)
}

func (p *Pages) editRelay(v *visit) error {
	page, err := v.relayPage()
	if err != nil {
		return err
	}
	edit, err := v.relayEdit(page.relayRow)
	if err != nil {
		return err
	}
	if edit == (operate.RelayEdit{}) {
		return v.redirect(v.relayPath(), "unchanged")
	}
	if err := operate.EditRelay(v.r.Context(), p.Pool, p.Keyring, page.Name, edit); err != nil {
		return err
	}
	return v.redirect(v.relayPath(), "changed")
}

// relayEdit is what a form changes of a relay.
func (v *visit) relayEdit(r relayRow) (edit operate.RelayEdit, err error) {
	changed := func(name, was string) *string {
		if value := strings.TrimSpace(v.r.PostFormValue(name)); value != "" && value != was {
			return &value
		}
		return nil
	}
	edit.BaseURL, edit.TaskPath = changed("base_url", r.BaseURL), changed("task_path", r.TaskPath)
	edit.Key.Key = strings.TrimSpace(v.r.PostFormValue("key"))
	rate, err := readRate(v.r.PostFormValue("poll_rate"))
	if err != nil {
		return edit, err
	}
	if rate != 0 && rate != r.PollRate {
		edit.PollRate = &rate
	}
	if text := changed("output_lifetime", show.Span(r.Lifetime())); text != nil {
		lifetime, err := readable.ParseDuration(*text)
		if err != nil {
			return edit, &refusal{http.StatusUnprocessableEntity, "error.life"}
		}
		edit.OutputLifetime = &lifetime
	}
	if chosen := archiveChoice(v.r.PostFormValue("archive")); v.r.PostForm.Has("archive") && !same(chosen, r.Archive) {
		edit.Archive = &chosen
	}
	return edit, nil
}

// same tells whether two choices are the same one, none among them.
func same(a, b *bool) bool { return a == b || a != nil && b != nil && *a == *b }

// archiveChoice reads whether files are kept: on, off, or as the deployment says.
func archiveChoice(text string) *bool {
	if text != "on" && text != "off" {
		return nil
	}
	kept := text == "on"
	return &kept
}

// readRate reads requests per second; "" is 0.
func readRate(text string) (float64, error) {
	if text = strings.TrimSpace(text); text == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, &refusal{http.StatusUnprocessableEntity, "error.rate"}
	}
	return n, nil
}

func (p *Pages) confirmRelayRemoval(v *visit) error {
	page, err := v.relayPage()
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "relay_remove", page)
}

func (p *Pages) removeRelay(v *visit) error {
	if err := operate.RemoveRelay(v.r.Context(), p.Pool, v.r.PathValue("name")); err != nil {
		return err
	}
	return v.redirect("/relays", "removed")
}

// makeCallback makes an address that the relay may call, and shows it once.
func (p *Pages) makeCallback(v *visit) error {
	token, err := operate.MakeCallbackToken(v.r.Context(), p.Pool, v.r.PathValue("name"))
	if err != nil {
		return err
	}
	page, err := v.relayPage()
	if err != nil {
		return err
	}
	page.Address = p.About.PublicURL + operate.CallbackPath(page.Name, token)
	return v.render(http.StatusOK, "relay", page)
}

func (p *Pages) revokeCallback(v *visit) error {
	if err := operate.RevokeCallbackTokens(v.r.Context(), p.Pool, v.r.PathValue("name")); err != nil {
		return err
	}
	return v.redirect(v.relayPath(), "revoked_calls")
}

// signCallback has the calls of the relay verified with a secret. Nobody ends that by
// sending an empty field: it is asked for by a button of its own.
func (p *Pages) signCallback(v *visit) error {
	secret := strings.TrimSpace(v.r.PostFormValue("secret"))
	if unsigned := v.r.PostFormValue("unsigned") != ""; unsigned == (secret != "") {
		return &refusal{http.StatusUnprocessableEntity, "error.secret"}
	}
	if err := operate.SetCallbackSecret(v.r.Context(), p.Pool, p.Keyring, v.r.PathValue("name"), secret); err != nil {
		return err
	}
	return v.redirect(v.relayPath(), "changed")
}
