package klingsim

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	submittedShare = 0.15 // of its life a task waits before it is processed
	slowFactor     = 10   // `slow`
	slowReply      = 2 * time.Second
	maxCreation    = 1 << 20 // bytes of the body of a POST, as other relays cap it
)

// query is one request to the API on its way through the relay.
type query struct {
	relay  *Relay
	w      http.ResponseWriter
	req    *http.Request
	kind   *kind
	number uint64 // of the request at this relay
	task   *task  // shared, guarded by the store; nil if the path names none

	seen  task // copy, as of this query
	words behaviour
	now   int64 // unix ms
}

// answer answers a GET of a task.
func (q *query) answer() {
	if q.task == nil { // an id too long to be one
		q.unknown().write(q.w)
		return
	}
	q.now = q.relay.config.Now().UnixMilli()
	q.seen = q.relay.store.reach(q.task, q.now)
	q.words = behaviourOf(q.seen.id)
	if !q.wait(q.latency()) {
		return
	}
	if broken := q.fault(); broken != nil {
		broken(q)
		return
	}
	q.reply().write(q.w)
}

// create answers a POST: it makes a task and says submitted. The new id takes over the words of the external_task_id,
// so that a creation can ask for a behaviour too.
func (q *query) create() {
	var order struct {
		ExternalTaskID string `json:"external_task_id"`
	}
	body := json.NewDecoder(http.MaxBytesReader(q.w, q.req.Body, maxCreation))
	if err := body.Decode(&order); err != nil && !errors.Is(err, io.EOF) || len(order.ExternalTaskID) > maxID/2 {
		q.refuse(codeBadRequest, "")
		return
	}
	q.now = q.relay.config.Now().UnixMilli()
	fresh := opaqueID(q.relay.chance("", "creation", q.relay.created.Add(1)))
	t := &task{id: wordsOf(order.ExternalTaskID) + fresh, external: order.ExternalTaskID, begun: true, first: q.now}
	q.seen = *t
	q.relay.store.create(q.kind, t)
	q.record(&view{phase: submitted, created: q.now, updated: q.now}).write(q.w)
}

// latency is how long this answer takes.
func (q *query) latency() time.Duration {
	wait := time.Duration(float64(q.relay.config.Latency) * share(q.chance("latency")))
	if q.words[groupPace] == "slowreply" {
		wait += slowReply
	}
	return wait
}

// wait lets time pass and returns false if the caller has gone meanwhile.
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

// chance is the random number of this query of this task for a purpose.
func (q *query) chance(purpose string) uint64 {
	return q.relay.chance(q.seen.id, purpose, uint64(q.seen.asked))
}

// taskChance is the random number of the task for a purpose, the same at every query.
func (q *query) taskChance(purpose string) uint64 {
	return q.relay.chance(q.seen.id, purpose, 0)
}

// passed counts the queries that got past the faults of the words, this one included, from 1.
func (q *query) passed() int {
	n := int(q.seen.answered)
	if q.words[groupFault] != "" && q.words[groupRepeat] == "" {
		n -= faultyQueries
	}
	return n
}

// known reports whether the relay admits to know the task at this query.
func (q *query) known() bool {
	switch q.words[groupSight] {
	case "unknown", "unknown1203":
		return false
	case "late":
		return q.passed() > lateQueries
	case "flicker":
		return q.passed()%3 == 0
	}
	return true
}

// reply is the answer when nothing goes wrong on the way.
func (q *query) reply() reply {
	if !q.known() {
		return q.unknown()
	}
	return q.record(q.view())
}

// view looks up how far the task has come.
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
		v.phase, v.updated = q.ending(), q.seen.first+life
	}
	if v.phase == failed {
		v.reason = reasons[q.taskChance("reason")%uint64(len(reasons))]
	}
	if v.phase == succeeded {
		q.addResult(v)
	}
	return v
}

// life is how long the task takes, in ms.
func (q *query) life() int64 {
	if q.words[groupLife] == "quick" {
		return 0
	}
	factor := math.Exp2(2*share(q.taskChance("life")) - 1) // 0.5-2, median 1
	if q.words[groupLife] == "slow" {
		factor *= slowFactor
	}
	return int64(factor * float64(q.relay.config.Lifetime.Milliseconds()))
}

func (q *query) ending() phase {
	switch q.words[groupOutcome] {
	case "fail":
		return failed
	case "canceled":
		return canceled
	}
	return succeeded
}

// requestID is the relay's name of this request. It follows the task where there is one, not the order of arrival.
func (q *query) requestID() string {
	if q.seen.id != "" {
		return opaqueID(q.chance("request"))
	}
	return opaqueID(q.relay.chance("", "request", q.number))
}

// newAPI reports whether the answer takes a form of new-api.
func (q *query) newAPI() bool {
	return strings.HasPrefix(q.words[groupForm], "newapi") || q.words[groupForm] == "disagree"
}

// jobID is the id that the provider behind new-api gave the task.
func (q *query) jobID() string { return strconv.FormatUint(numericID(q.taskChance("job")), 10) }
