package klingsim

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"time"
)

const (
	submittedShare = 0.15 // of its life a task is submitted, before it is processing
	slowFactor     = 10   // `slow`
	slowReply      = 2 * time.Second
	maxCreation    = 1 << 20 // bytes of the body of a POST, as at other relays
)

// query is one request to the API.
type query struct {
	relay  *Relay
	w      http.ResponseWriter
	req    *http.Request
	to     target
	number uint64 // of the request at this relay
	id     string // as asked for; empty if the path has none
	kind   *kind
	task   *task // shared, guarded by the store; nil if the path has none, or the id is too long
	batch  batch // that this query stands for; nil: for itself

	seen  task // a copy of task for this query
	words behaviour
	now   int64 // unix ms
}

// answer answers a GET of a task.
func (q *query) answer() {
	if behaviourOf(q.id)[groupTransport] == "slash" && !q.to.list && !strings.HasSuffix(q.req.URL.EscapedPath(), "/") {
		q.addSlash()
		return
	}
	q.begin()
	if q.task == nil {
		q.unknown().write(q.w)
		return
	}
	if !q.wait(q.latency()) {
		return
	}
	if broken := q.fault(); broken != nil {
		broken(q)
		return
	}
	p := q.reply()
	if q.words[groupTransport] == "gzip" {
		p = p.compressed()
	}
	p.write(q.w)
}

// begin notes that the task is answered about, and reads its words.
func (q *query) begin() {
	q.now = q.relay.config.Now().UnixMilli()
	if q.task != nil {
		q.seen = q.relay.store.answer(q.task, q.now)
	}
	q.words = q.to.behaviour(q.seen.id)
	if q.task != nil {
		q.announce(q.relay.config.CallbackURL)
	}
}

// behaviour reads the words of an id. The form is that of the dialect, unless a word chooses or implies another.
func (to target) behaviour(id string) behaviour {
	b := behaviourOf(id)
	if b[groupForm] == "" && !b.newAPI() {
		b[groupForm] = to.form
	}
	return b
}

// create answers a POST: it makes a task that is submitted. The new id begins with the words of the external_task_id, so
// that a POST can choose a behaviour as well.
func (q *query) create() {
	var order struct {
		ExternalTaskID string `json:"external_task_id"`
		CallbackURL    string `json:"callback_url"`
	}
	body := json.NewDecoder(http.MaxBytesReader(q.w, q.req.Body, maxCreation))
	if err := body.Decode(&order); err != nil && !errors.Is(err, io.EOF) || len(order.ExternalTaskID) > maxID/2 {
		q.refuse(codeBadRequest, "")
		return
	}
	q.now = q.relay.config.Now().UnixMilli()
	fresh := q.relay.speech.newID(q.relay.chance("", "creation", q.relay.created.Add(1)))
	t := &task{id: wordsOf(order.ExternalTaskID) + fresh, external: order.ExternalTaskID, begun: true, first: q.now}
	q.seen, q.words = *t, behaviour{groupForm: q.to.form}
	q.relay.store.create(q.kind, t)
	calling := *q
	calling.task, calling.words = t, q.to.behaviour(t.id)
	calling.announce(cmp.Or(order.CallbackURL, q.relay.config.CallbackURL))
	q.relay.speech.created(q, &view{phase: submitted, created: q.now, updated: q.now}).write(q.w)
}

// latency is how long this answer takes.
func (q *query) latency() time.Duration {
	wait := time.Duration(float64(q.relay.config.Latency) * share(q.chance("latency")))
	if q.words[groupLatency] == "slowreply" {
		wait += slowReply
	}
	return wait
}

// wait waits, and returns false if the caller has gone meanwhile.
func (q *query) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-q.req.Context().Done():
		return false
	}
}

// chance returns the random number of this query for a purpose.
func (q *query) chance(purpose string) uint64 {
	return q.relay.chance(q.seen.id, purpose, uint64(q.seen.asked))
}

// taskChance returns the random number of the task for a purpose, the same for each query.
func (q *query) taskChance(purpose string) uint64 {
	return q.relay.chance(q.seen.id, purpose, 0)
}

// passed returns the number of this query, from 1, without those that the fault words answered.
func (q *query) passed() int {
	n := int(q.seen.answered)
	if q.words[groupFault] != "" && q.words[groupRepeat] == "" {
		n -= faultyQueries
	}
	return n
}

// known reports whether the relay knows the task in this query.
func (q *query) known() bool {
	switch q.words[groupVisibility] {
	case "":
		return q.relay.config.Dialect != NewAPI || !klingsOwn(q.id)
	case "late":
		return q.passed() > lateQueries
	case "flicker":
		return q.passed()%3 == 0
	}
	return false
}

// reply returns the answer without faults.
func (q *query) reply() reply {
	if q.batch != nil {
		return q.batch.reply()
	}
	if !q.known() {
		return q.unknown()
	}
	return q.record(q.view())
}

// view returns the state of the task.
func (q *query) view() *view {
	life := q.life()
	start := int64(float64(life) * submittedShare)
	v := &view{created: q.seen.first}
	switch age := q.now - q.seen.first; {
	case q.words[groupOutcome] == "never" && age >= start, age >= start && age < life:
		v.phase, v.updated = processing, q.seen.first+start
	case age < start:
		v.phase, v.updated = submitted, q.seen.first
	default:
		v.phase, v.updated = q.ending(age-life), q.seen.first+life
	}
	switch {
	case v.phase == gaveUp:
		v.reason = timeoutReason
	case v.phase == failed, v.phase == succeeded && q.words[groupOutcome] == "contradict":
		v.reason = reasons[q.taskChance("reason")%uint64(len(reasons))]
	case v.phase == succeeded:
		q.addResult(v)
	}
	return v
}

// life is how long the task takes, in ms.
func (q *query) life() int64 {
	if q.words[groupLifetime] == "quick" {
		return 0
	}
	factor := math.Exp2(2*share(q.taskChance("life")) - 1) // 0.5-2, median 1
	if q.words[groupLifetime] == "slow" {
		factor *= slowFactor
	}
	return int64(factor * float64(q.relay.config.Lifetime.Milliseconds()))
}

// ending returns how the task has ended, some ms ago. A relay that gave up gets the success of the provider later.
func (q *query) ending(ago int64) phase {
	switch q.words[groupOutcome] {
	case "fail":
		return failed
	case "canceled":
		return canceled
	case "timeout", "expired", "relaytimeout":
		if q.words[groupRepeat] == "always" || ago < q.relay.config.Lifetime.Milliseconds() {
			return gaveUp
		}
	}
	return succeeded
}

// requestID returns the relay's id of this request. It depends on the task if there is one, not on the order of requests.
func (q *query) requestID() string {
	if q.seen.id != "" {
		return opaqueID(q.chance("request"))
	}
	return opaqueID(q.relay.chance("", "request", q.number))
}

// chance returns a random number that depends only on seed, name, purpose and number. Without the state of a generator,
// the order of requests changes nothing.
func (r *Relay) chance(name, purpose string, number uint64) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset) ^ mix(r.config.Seed)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	h = mix(h)
	for i := range len(purpose) {
		h = (h ^ uint64(purpose[i])) * prime
	}
	return mix(h + number)
}

// mix is the finalizer of SplitMix64: FNV alone gives similar numbers to ids that differ only at the end.
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// share maps a random number to [0, 1).
func share(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// opaqueID returns a random number as an id of 22 characters like those of Kling. It begins with "Cj", which is no word
// of the vocabulary.
func opaqueID(h uint64) string {
	var raw [15]byte
	binary.BigEndian.PutUint64(raw[:], h)
	binary.BigEndian.PutUint64(raw[7:], mix(h))
	return "Cj" + base64.RawURLEncoding.EncodeToString(raw[:])
}

// numericID returns a random number as an id of 18 digits, which is above 2^53.
func numericID(h uint64) uint64 { return 100_000_000_000_000_000 + h%900_000_000_000_000_000 }
