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
	"github.com/klingwatch/klingwatch/lookback"
	"github.com/klingwatch/klingwatch/webhook"
)

// toCallbacks stands in a filter for the callbacks of tasks, where else an endpoint's number is.
const toCallbacks = "callback"

// deliveryFilter is what the list of deliveries is asked for, by its parameters in the address.
type deliveryFilter struct {
	State    []string
	Receiver string // number of an endpoint, or toCallbacks
	Type     string
	Task     string
	Relay    string
	App      string
	Error    string
	Since    string // as in a taskFilter
}

func readDeliveryFilter(form url.Values) deliveryFilter {
	f := deliveryFilter{
		Receiver: strings.TrimSpace(form.Get("receiver")), Type: form.Get("type"), Task: strings.TrimSpace(form.Get("task")), Relay: form.Get("relay"),
		App: form.Get("app"), Error: form.Get("error"), Since: form.Get("since"),
	}
	if !slices.Contains(webhook.Types, f.Type) {
		f.Type = ""
	}
	for _, state := range form["state"] {
		if slices.Contains(db.DeliveryStates, state) {
			f.State = append(f.State, state)
		}
	}
	return f
}

// Values are the parameters of the filter; what chooses nothing is left out.
func (f deliveryFilter) Values() url.Values {
	query := given(map[string]string{
		"receiver": f.Receiver, "type": f.Type, "task": f.Task, "relay": f.Relay, "app": f.App, "error": f.Error, "since": f.Since,
	})
	if len(f.State) > 0 {
		query["state"] = f.State
	}
	return query
}

// Has tells whether a state is chosen.
func (f deliveryFilter) Has(state string) bool { return slices.Contains(f.State, state) }

// Narrow tells whether the filter chooses anything beside a state.
func (f deliveryFilter) Narrow() bool {
	f.State = nil
	return len(f.Values()) > 0
}

func (f deliveryFilter) choice() (c db.DeliveryChoice, err error) {
	c = db.DeliveryChoice{States: f.State, Type: f.Type, Error: f.Error, Callback: f.Receiver == toCallbacks, Tasks: db.TaskChoice{Relay: f.Relay, App: f.App}}
	if f.Receiver != "" && !c.Callback {
		id, err := readNumber(f.Receiver)
		if err != nil {
			return c, err
		}
		c.Endpoint = &id
	}
	if f.Task != "" {
		if c.Task, err = readNumber(f.Task); err != nil {
			return c, err
		}
	}
	c.Since, err = readTime(f.Since)
	return c, err
}

// readNumber reads one of our ids.
func readNumber(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, &refusal{http.StatusUnprocessableEntity, "error.number"}
	}
	return id, nil
}

// deliveriesPage is the list of deliveries.
type deliveriesPage struct {
	shell
	Filter        deliveryFilter
	States, Types []string
	Deliveries    []deliveryRow
	Next, Newest  string // as in a tasksPage
	SearchedTo    *time.Time
	Count         db.Count
	Empty         bool // there is no delivery at all
}

// deliveryRow is a delivery as it is shown.
type deliveryRow struct{ db.Delivery }

// Shown is its state in words: one that waits for its endpoint is held.
func (d deliveryRow) Shown() string {
	if d.State == db.DeliveryPending && d.NextAttemptAt == nil {
		return "parked"
	}
	return d.State
}

// Pending tells whether it may still arrive.
func (d deliveryRow) Pending() bool { return d.State == db.DeliveryPending }

func deliveryRows(deliveries []db.Delivery) []deliveryRow {
	rows := make([]deliveryRow, len(deliveries))
	for i, d := range deliveries {
		rows[i] = deliveryRow{d}
	}
	return rows
}

func (p *Pages) listDeliveries(v *visit) error {
	f := readDeliveryFilter(v.r.URL.Query())
	choice, err := f.choice()
	if err != nil {
		return err
	}
	ctx, cancel := v.within()
	defer cancel()
	before, _ := strconv.ParseInt(v.r.FormValue("before"), 10, 64)
	page, err := db.ListDeliveries(ctx, p.Pool, choice, lookback.Search{Before: before, Limit: pageSize, Within: lookBack})
	if err != nil {
		return err
	}
	count := db.Count{N: int64(len(page.Items)), Exact: true}
	if before != 0 || page.Next != 0 {
		if count, err = db.CountDeliveriesUpTo(ctx, p.Pool, choice, countUpTo); err != nil {
			return err
		}
	}
	shown := deliveriesPage{shell: v.shell("deliveries"), Filter: f, States: db.DeliveryStates, Types: webhook.Types, Deliveries: deliveryRows(page.Items), Count: count}
	shown.Next, shown.Newest = pagesAround("/deliveries", f.Values(), before, page.Next)
	if page.Cut {
		shown.SearchedTo = &page.Since
	}
	shown.Empty = len(page.Items) == 0 && len(f.Values()) == 0 && before == 0
	shown.Live = liveAt("deliveries", deliveriesLive(f, page.Items, before == 0))
	return v.render(http.StatusOK, "deliveries", shown)
}

// deliveriesLive are the parameters of the stream of a list, as in tasksLive.
func deliveriesLive(f deliveryFilter, deliveries []db.Delivery, first bool) url.Values {
	return rowsLive(f.Values(), deliveries, func(d db.Delivery) int64 { return d.ID }, first)
}

// liveDeliveries renders the cells of the shown rows, and how many are new. While an attempt
// is due soon it looks again by itself: deliveries tell nobody.
func (p *Pages) liveDeliveries(ctx context.Context, v *visit, _ []int64) (map[string]string, time.Duration, error) {
	deliveries, err := db.DeliveriesOf(ctx, p.Pool, v.shownIDs())
	if err != nil {
		return nil, 0, err
	}
	parts, again := map[string]string{}, againWhenDue(time.Now(), deliveries...)
	for _, row := range deliveryRows(deliveries) {
		for _, cell := range []string{"state", "attempts", "when", "error"} {
			if parts[fmt.Sprintf("d%d-%s", row.ID, cell)], err = part(v.lang, "deliveries", "cell-"+cell, row); err != nil {
				return nil, 0, err
			}
		}
	}
	above, err := strconv.ParseInt(v.r.FormValue("above"), 10, 64)
	if err != nil { // a part of the list that nothing new comes to
		return parts, again, nil
	}
	f := readDeliveryFilter(v.r.URL.Query())
	choice, err := f.choice()
	if err != nil {
		return nil, 0, err
	}
	n, err := db.CountDeliveriesAbove(ctx, p.Pool, choice, above, pageSize)
	if err != nil {
		return nil, 0, err
	}
	return parts, again, v.tellNew(parts, "deliveries", n, f.Values())
}

// againWhenDue is when an attempt that is due within a minute will have been made; 0: none is.
func againWhenDue(now time.Time, deliveries ...db.Delivery) time.Duration {
	return againWhile(slices.ContainsFunc(deliveries, func(d db.Delivery) bool {
		return d.State == db.DeliveryPending && d.NextAttemptAt != nil && d.NextAttemptAt.Before(now.Add(time.Minute))
	}))
}
