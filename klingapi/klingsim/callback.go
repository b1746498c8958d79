package klingsim

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/webhook"
)

const (
	callbackLate    = 2 * time.Second        // `calllate`
	callbackEarly   = 500 * time.Millisecond // `callearly`
	callbackTimeout = 5 * time.Second        // of one request
)

// announcement is the callbacks of one task: the bare record is posted at every change of status, as Kling does.
type announcement struct {
	query
	url   string
	habit string // a word of groupCallback, "" for none
}

// announce sends the callbacks of a task that begins now, and never those of a task that the relay will not know. new-api
// has none: it does not pass callback_url on.
func (q *query) announce(url string) {
	unknown := q.words[groupVisibility] != "" && q.words[groupVisibility] != "late" && q.words[groupVisibility] != "flicker"
	if url == "" || unknown || q.relay.config.Dialect == NewAPI || q.words[groupCallback] == "nocall" || !q.relay.store.announce(q.task) {
		return
	}
	a := announcement{query: *q, url: url, habit: q.callbackHabit()}
	a.req = &http.Request{Host: q.req.Host, TLS: q.req.TLS}
	a.w, a.batch = nil, nil
	a.words[groupData] = "" // that is about envelopes
	if a.words[groupOutcome] == "nourl" || a.words[groupOutcome] == "latefile" {
		a.words[groupOutcome] = "" // counts answers
	}
	go a.send(a.changes())
}

// callbackHabit is how the callbacks of a task come: as its id asks for, or by chance.
func (q *query) callbackHabit() string {
	if word := q.words[groupCallback]; word != "" {
		return word
	}
	habits := []string{"calltwice", "calllate", "callearly"}
	if n := int(share(q.taskChance("callback")) / max(q.relay.config.FaultRate, 1e-9)); n < len(habits) {
		return habits[n]
	}
	return ""
}

// changes are the ages, in ms, at which the status of the task changes at the provider.
func (q *query) changes() []int64 {
	life := q.life()
	processing := int64(float64(life) * submittedShare)
	switch {
	case q.words[groupOutcome] == "never":
		return []int64{0, processing}
	case q.ending(0) == gaveUp:
		if q.words[groupRepeat] == "always" {
			return []int64{0, processing}
		}
		return []int64{0, processing, life + q.relay.config.Lifetime.Milliseconds()}
	case life == 0:
		return []int64{0}
	}
	return []int64{0, processing, life}
}

// send posts a callback at each of the ages.
func (a *announcement) send(ages []int64) {
	shift := map[string]time.Duration{"calllate": callbackLate, "callearly": -callbackEarly}[a.habit]
	begun := time.Now()
	for _, age := range ages {
		a.now = a.seen.first + age
		if a.habit == "callforged" {
			a.post(a.forged(), "", 0)
		}
		time.Sleep(time.Until(begun.Add(time.Duration(age)*time.Millisecond + shift)))
		body := a.body(a.view())
		a.post(body, a.relay.config.CallbackSecret, age)
		if a.habit == "calltwice" {
			a.post(body, a.relay.config.CallbackSecret, age)
		}
	}
}

// forged is what anybody could send who knows the address: that the task has succeeded.
func (a *announcement) forged() []byte {
	return a.body(&view{phase: succeeded, created: a.seen.first, updated: a.now})
}

// body is the bare record, in the form of the task's family.
func (a *announcement) body(v *view) []byte {
	if strings.HasPrefix(a.words[groupForm], "v3") {
		return jsonReply(0, a.v3Record(v)).body
	}
	return jsonReply(0, a.officialBody(v).Data).body
}

// post sends one callback, signed where there is a secret; what the receiver says does not matter. A repeated one, of the
// same age, has the same id.
func (a *announcement) post(body []byte, secret string, age int64) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "application/json")
	if secret != "" {
		id, now := strconv.FormatUint(numericID(a.relay.chance(a.seen.id, "callback", uint64(age))), 10), time.Now()
		signature, _ := webhook.Sign([]string{secret}, id, now, body) // New has tried the secret
		req.Header.Set("webhook-id", id)
		req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
		req.Header.Set("webhook-signature", signature)
	}
	client := http.Client{Transport: a.relay.config.CallbackTransport, Timeout: callbackTimeout}
	if res, err := client.Do(req); err == nil {
		_ = res.Body.Close()
	}
	a.relay.called.Add(1)
}

// Callbacks returns the number of callbacks sent so far, delivered or not.
func (r *Relay) Callbacks() int { return int(r.called.Load()) }
