package pages

import (
	"net/http"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/readable"
	"github.com/klingwatch/klingwatch/web/pages/show"
	"github.com/klingwatch/klingwatch/webhook"
)

// endpointPage is an endpoint with all that can be done to it.
type endpointPage struct {
	shell
	endpointRow
	Form       endpointForm
	Deliveries string // address of its deliveries
	PublicKeys []signingKey
	Graces     []string // for how long an old secret may go on, the usual one first

	Secret string    // shown in the answer that made it, and never again
	Added  bool      // the endpoint is new
	Ping   *pingView // what a test webhook came to; nil: none was sent
}

// graces are for how long the old secret signs as well.
var graces = []string{"24h", "7d", "1h", "0s"}

// pingView is what a test webhook came to.
type pingView struct {
	operate.PingResult
	Took  time.Duration
	Steps []show.Step
}

func (p *Pages) showEndpoint(v *visit) error {
	id, err := v.endpointID()
	if err != nil {
		return err
	}
	return v.endpointPage(http.StatusOK, id, func(*endpointPage) {})
}

// endpointPage answers with the page of an endpoint, changed before it is shown.
func (v *visit) endpointPage(status int, id int64, change func(*endpointPage)) error {
	ctx, cancel := v.within()
	defer cancel()
	rows, err := v.endpointRows(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.ID != id {
			continue
		}
		page := endpointPage{shell: v.shell("endpoints"), endpointRow: row, Form: formOf(row.Endpoint), Deliveries: deliveriesTo(id), PublicKeys: v.signingKeys(ctx), Graces: graces}
		page.Live = liveAt("endpoints", nil)
		change(&page)
		return v.render(status, "endpoint", page)
	}
	return db.ErrNotFound
}

func formOf(e db.Endpoint) endpointForm {
	return endpointForm{Types: webhook.Types, URL: e.URL, Events: e.EventTypes, Actions: strings.Join(e.Actions, " "), Thin: e.Thin, Description: e.Description}
}

func (p *Pages) editEndpoint(v *visit) error {
	id, err := v.endpointID()
	if err != nil {
		return err
	}
	form := readEndpointForm(v.r)
	if form.NoEvents {
		return v.endpointPage(http.StatusUnprocessableEntity, id, func(page *endpointPage) { page.Form = form })
	}
	endpoint, err := operate.GetEndpoint(v.r.Context(), p.Pool, id)
	if err != nil {
		return err
	}
	if err := operate.EditEndpoint(v.r.Context(), p.Pool, id, form.edit(endpoint)); err != nil {
		form, status, err := form.refused(err)
		if err != nil {
			return err
		}
		return v.endpointPage(status, id, func(page *endpointPage) { page.Form = form })
	}
	return v.redirect(endpointPath(id), "endpoint_changed")
}

func (p *Pages) pingEndpoint(v *visit) error {
	id, err := v.endpointID()
	if err != nil {
		return err
	}
	result, err := operate.Ping(v.r.Context(), p.Pool, p.Keyring, p.Webhooks, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	took := time.Duration(result.TotalSeconds * float64(time.Second))
	return v.endpointPage(http.StatusOK, id, func(page *endpointPage) {
		page.Ping = &pingView{result, took, stepsOf(v.lang, took, &result.DNSSeconds, &result.ConnectSeconds, &result.TLSSeconds, &result.FirstByteSeconds)}
	})
}

// rotateEndpoint shows the new secret in its answer, and nowhere else.
func (p *Pages) rotateEndpoint(v *visit) error {
	id, err := v.endpointID()
	if err != nil {
		return err
	}
	grace, err := readable.ParseDuration(v.r.PostFormValue("grace"))
	if err != nil {
		return &refusal{http.StatusUnprocessableEntity, "error.time"}
	}
	keys, err := operate.RotateKeys(v.r.Context(), p.Pool, p.Keyring, db.KeyOwner{Endpoint: &id}, grace)
	if err != nil {
		return err
	}
	return v.endpointPage(http.StatusOK, id, func(page *endpointPage) { page.Secret = keys.Secret })
}
