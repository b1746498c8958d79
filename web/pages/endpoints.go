package pages

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
)

const (
	// newestDeliveries are looked at for when an endpoint accepted something last.
	newestDeliveries = 10_000
	// troubledAgain is how soon a page looks again at endpoints with trouble: that it has
	// ended nobody tells.
	troubledAgain = 10 * time.Second
)

// endpointRow is an endpoint as it is shown.
type endpointRow struct {
	db.Endpoint
	Arrived *time.Time // when it accepted something last; nil: not lately
}

// Health is how it is: a key of the words, after "health.".
func (e endpointRow) Health() string {
	switch {
	case e.DisabledAt != nil:
		return "disabled"
	case e.FailingSince != nil:
		return "failing"
	}
	return "enabled"
}

// Enabled tells whether it gets its events.
func (e endpointRow) Enabled() bool { return e.DisabledAt == nil }

// Path is the path of its page.
func (e endpointRow) Path() string { return endpointPath(e.ID) }

func endpointPath(id int64) string { return "/endpoints/" + strconv.FormatInt(id, 10) }

// endpointsPage is the list of endpoints.
type endpointsPage struct {
	shell
	Endpoints []endpointRow
	Form      endpointForm // of a new one
}

// endpointForm is what is entered about an endpoint.
type endpointForm struct {
	Types       []string // that there are
	URL         string
	Events      []string
	Actions     string // separated by spaces or commas; "": all
	Thin        bool
	Description string
	Problem     string // what operate says of it; "": nothing
	NoEvents    bool   // none was chosen
}

// Has tells whether an event is chosen.
func (f endpointForm) Has(event string) bool { return slices.Contains(f.Events, event) }

func readEndpointForm(r *http.Request) endpointForm {
	_ = r.ParseForm() // what cannot be read is not there
	return endpointForm{
		Types: webhook.Types, URL: strings.TrimSpace(r.PostForm.Get("url")), Events: r.PostForm["event"], Actions: strings.TrimSpace(r.PostForm.Get("actions")),
		Thin: r.PostForm.Get("thin") != "", Description: strings.TrimSpace(r.PostForm.Get("description")), NoEvents: len(r.PostForm["event"]) == 0,
	}
}

// paths are the entered actions, as operate takes them.
func (f endpointForm) paths() []string {
	paths := strings.FieldsFunc(f.Actions, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
	if len(paths) == 0 {
		return []string{"all"}
	}
	return paths
}

// edit is the change that the form makes of an endpoint. Its URL is named only where it is
// another: its failures are forgotten then.
func (f endpointForm) edit(e db.Endpoint) operate.EndpointEdit {
	change := operate.EndpointEdit{Events: f.Events, Actions: f.paths(), Thin: &f.Thin, Description: &f.Description}
	if f.URL != e.URL {
		change.URL = &f.URL
	}
	return change
}

// refused returns the form with what is wrong with it, or the error itself where it is none
// of the form's.
func (f endpointForm) refused(err error) (form endpointForm, status int, other error) {
	status, _, f.Problem = statusOf(err)
	if f.Problem == "" {
		return f, 0, err
	}
	return f, status, nil
}

func (p *Pages) listEndpoints(v *visit) error {
	return v.endpointsPage(http.StatusOK, endpointForm{Types: webhook.Types, Events: webhook.TerminalTypes})
}

func (v *visit) endpointsPage(status int, form endpointForm) error {
	ctx, cancel := v.within()
	defer cancel()
	rows, err := v.endpointRows(ctx)
	if err != nil {
		return err
	}
	page := endpointsPage{shell: v.shell("endpoints"), Endpoints: rows, Form: form}
	page.Live = liveAt("endpoints", nil)
	return v.render(status, "endpoints", page)
}

func (v *visit) endpointRows(ctx context.Context) ([]endpointRow, error) {
	endpoints, err := db.ListEndpoints(ctx, v.Pool)
	if err != nil {
		return nil, err
	}
	arrivals, err := db.LastArrivals(ctx, v.Pool, newestDeliveries)
	if err != nil {
		return nil, err
	}
	rows := make([]endpointRow, len(endpoints))
	for i, e := range endpoints {
		rows[i].Endpoint = e
		for _, a := range arrivals {
			if a.Endpoint == e.ID {
				rows[i].Arrived = &a.At
			}
		}
	}
	return rows, nil
}

// liveEndpoints renders how the endpoints are. While one has trouble it looks again by
// itself.
func (p *Pages) liveEndpoints(ctx context.Context, v *visit, _ []int64) (map[string]string, time.Duration, error) {
	rows, err := v.endpointRows(ctx)
	if err != nil {
		return nil, 0, err
	}
	parts, again := map[string]string{}, time.Duration(0)
	for _, row := range rows {
		if row.FailingSince != nil || row.Waiting > 0 {
			again = troubledAgain
		}
		for _, name := range []string{"health", "arrived", "waiting"} {
			if parts[fmt.Sprintf("e%d-%s", row.ID, name)], err = part(v.lang, "endpoints", "endpoint-"+name, row); err != nil {
				return nil, 0, err
			}
		}
	}
	return parts, again, nil
}

// addEndpoint shows the secret in its answer, and nowhere else.
func (p *Pages) addEndpoint(v *visit) error {
	form := readEndpointForm(v.r)
	if form.NoEvents {
		return v.endpointsPage(http.StatusUnprocessableEntity, form)
	}
	added, err := operate.AddEndpoint(v.r.Context(), p.Pool, p.Keyring, operate.NewEndpoint{
		URL: form.URL, Events: form.Events, Actions: form.paths(), Thin: form.Thin, Description: form.Description,
	})
	if err != nil {
		form, status, err := form.refused(err)
		if err != nil {
			return err
		}
		return v.endpointsPage(status, form)
	}
	return v.endpointPage(http.StatusOK, added.ID, func(page *endpointPage) { page.Secret, page.Added = added.Secret, true })
}

// endpointID is the number in the address.
func (v *visit) endpointID() (int64, error) {
	id, err := strconv.ParseInt(v.r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, db.ErrNotFound
	}
	return id, nil
}

// actOnEndpoint does something to the endpoint of the address.
func (v *visit) actOnEndpoint(done string, do func(context.Context, int64) error) error {
	id, err := v.endpointID()
	if err != nil {
		return err
	}
	if err := do(v.r.Context(), id); err != nil {
		return err
	}
	return v.redirect(v.back(endpointPath(id)), done)
}

func (p *Pages) enableEndpoint(v *visit) error {
	return v.actOnEndpoint("endpoint_enabled", func(ctx context.Context, id int64) error {
		_, err := operate.EnableEndpoint(ctx, p.Pool, id)
		return err
	})
}

func (p *Pages) disableEndpoint(v *visit) error {
	return v.actOnEndpoint("endpoint_disabled", func(ctx context.Context, id int64) error { return operate.DisableEndpoint(ctx, p.Pool, id) })
}

// removePage asks whether an endpoint is to be removed.
type removePage struct {
	shell
	endpointRow
	Changed bool // webhooks have begun to wait since the person was asked
}

func (p *Pages) askToRemoveEndpoint(v *visit) error {
	id, err := v.endpointID()
	if err != nil {
		return err
	}
	return v.removePage(http.StatusOK, id, false)
}

func (v *visit) removePage(status int, id int64, changed bool) error {
	ctx, cancel := v.within()
	defer cancel()
	endpoint, err := operate.GetEndpoint(ctx, v.Pool, id)
	if err != nil {
		return err
	}
	return v.render(status, "endpoint_remove", removePage{shell: v.shell("endpoints"), endpointRow: endpointRow{Endpoint: endpoint}, Changed: changed})
}

// removeEndpoint discards webhooks that wait only where the person was told that some do.
func (p *Pages) removeEndpoint(v *visit) error {
	id, err := v.endpointID()
	if err != nil {
		return err
	}
	endpoint, err := operate.GetEndpoint(v.r.Context(), p.Pool, id)
	if err != nil {
		return err
	}
	if endpoint.Waiting > 0 && v.r.PostFormValue("discard") == "" {
		return v.removePage(http.StatusConflict, id, true)
	}
	if _, err := operate.RemoveEndpoint(v.r.Context(), p.Pool, id); err != nil {
		return err
	}
	return v.redirect("/endpoints", "endpoint_removed")
}

// parameters of the list of deliveries that go to an endpoint.
func deliveriesTo(id int64) string {
	return address("/deliveries", url.Values{"receiver": {strconv.FormatInt(id, 10)}})
}
