package pages

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/pages/show"
	"github.com/klingwatch/klingwatch/web/pages/words"
)

// deliveryPage is a delivery with what was sent and what came back.
type deliveryPage struct {
	shell
	deliveryRow
	Headers [][2]string
	Body    []byte
	Log     []attemptRow // the last first
	Curl    string       // a command that sends it; "": it was not asked for
}

// attemptRow is an attempt as it is shown.
type attemptRow struct {
	db.Attempt
	Took  time.Duration
	Steps []show.Step
}

func (p *Pages) showDelivery(v *visit) error {
	ctx, cancel := v.within()
	defer cancel()
	page, err := v.deliveryPage(ctx, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	page.Live = liveAt("delivery", url.Values{"ids": {strconv.FormatInt(page.ID, 10)}})
	if page.Pending() {
		page.Reload = 10
	}
	return v.render(http.StatusOK, "delivery", page)
}

func (v *visit) deliveryPage(ctx context.Context, id string) (deliveryPage, error) {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return deliveryPage{}, db.ErrNotFound
	}
	view, err := operate.ViewDelivery(ctx, v.Pool, number, v.UserAgent)
	if err != nil {
		return deliveryPage{}, err
	}
	page := deliveryPage{shell: v.shell("deliveries"), deliveryRow: deliveryRow{view.Delivery}, Headers: view.Headers, Body: view.RawBody}
	for _, a := range view.AttemptLog {
		took := a.FinishedAt.Sub(a.StartedAt)
		page.Log = append(page.Log, attemptRow{a, took, stepsOf(v.lang, took, a.DNSSeconds, a.ConnectSeconds, a.TLSSeconds, a.FirstByteSeconds)})
	}
	slices.Reverse(page.Log)
	return page, nil
}

// stepsOf is how a request spent its time, in seconds; what it did not take or reach is left
// out.
func stepsOf(lang string, total time.Duration, dns, connect, tls, firstByte *float64) (steps []show.Step) {
	add := func(word, class string, took time.Duration) {
		if took > 0 {
			steps = append(steps, show.Step{Name: words.Say(lang, words.Common, word).(string), Class: class, Took: took})
			total -= took
		}
	}
	for _, s := range []struct {
		word, class string
		seconds     *float64
	}{
		{"step.dns", "c1", dns}, {"step.connect", "c2", connect}, {"step.tls", "c5", tls}, {"step.first_byte", "c3", firstByte},
	} {
		if s.seconds != nil {
			add(s.word, s.class, time.Duration(*s.seconds*float64(time.Second)))
		}
	}
	add("step.rest", "off", total)
	return steps
}

// liveDelivery renders what is live of the page of a delivery.
func (p *Pages) liveDelivery(ctx context.Context, v *visit, _ []int64) (map[string]string, time.Duration, error) {
	page, err := v.deliveryPage(ctx, v.r.FormValue("ids"))
	if isGone(err) { // it was deleted: the page stays as it was
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	parts := map[string]string{}
	for _, name := range []string{"state", "facts", "attempts"} {
		if parts[name], err = part(v.lang, "delivery", "part-"+name, page); err != nil {
			return nil, 0, err
		}
	}
	return parts, againWhenDue(time.Now(), page.Delivery), nil
}

func (p *Pages) redeliver(v *visit) error {
	return v.actOnDelivery(func(ctx context.Context, id int64) (string, error) {
		again, err := operate.Redeliver(ctx, p.Pool, id)
		if again.Waits {
			return "redelivered_waits", err
		}
		return "redelivered", err
	})
}

func (p *Pages) cancelDelivery(v *visit) error {
	return v.actOnDelivery(func(ctx context.Context, id int64) (string, error) {
		return "delivery_canceled", operate.CancelDelivery(ctx, p.Pool, id)
	})
}

// actOnDelivery does something to the delivery of the address, and tells what was done.
func (v *visit) actOnDelivery(do func(context.Context, int64) (done string, err error)) error {
	id, err := strconv.ParseInt(v.r.PathValue("id"), 10, 64)
	if err != nil {
		return db.ErrNotFound
	}
	done, err := do(v.r.Context(), id)
	if err != nil {
		return err
	}
	return v.redirect(v.back("/deliveries/"+strconv.FormatInt(id, 10)), done)
}

// curlDelivery shows a command that sends a delivery. It is signed, so it is made only for
// who may send, and by a form.
func (p *Pages) curlDelivery(v *visit) error {
	ctx, cancel := v.within()
	defer cancel()
	page, err := v.deliveryPage(ctx, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	if page.Curl, err = operate.CurlDelivery(ctx, p.Pool, p.Keyring, page.ID, p.UserAgent, time.Now()); err != nil {
		return err
	}
	return v.render(http.StatusOK, "delivery", page)
}
