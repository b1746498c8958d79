package poll

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

// pollOutcome is what one poll came to, as a word for metrics and logs.
type pollOutcome string

const (
	finished    pollOutcome = "finished"    // the task is terminal
	changed     pollOutcome = "changed"     // the status moved on
	unchanged   pollOutcome = "unchanged"   // still running, or a word that nobody knows
	notFound    pollOutcome = "not_found"   // the relay does not know the task, yet or any more
	refused     pollOutcome = "refused"     // the credential is not accepted
	throttled   pollOutcome = "throttled"   // asked too fast
	unreachable pollOutcome = "unreachable" // no answer, or trouble at the relay
	unreadable  pollOutcome = "unreadable"  // an answer that makes no sense
)

const (
	// notFoundAnswers in a row, and DefaultNotFoundGrace since the first of
	// them, make a task not_found: relays insert their row after the upstream
	// answered, and a relay's database may hiccup.
	notFoundAnswers = 3
	// DefaultNotFoundGrace is far above the seconds that relays need and far
	// below the hours after which anybody would miss a verdict.
	DefaultNotFoundGrace = 2 * time.Minute
	// knownFactor lengthens the grace of a task that the relay knew before: then
	// it is the relay that lost something, perhaps for the length of a repair.
	knownFactor = 15

	// fileAnswers is how often a success is asked again of which a file is missing:
	// relays may copy it to their own storage after the upstream finished.
	fileAnswers = 4
	// confirmAfter is the distance at which a failure must be repeated that may have
	// been one of the request.
	confirmAfter = time.Minute
)

// Memory is what a task's job remembers between polls that write nothing.
type Memory struct {
	Polls       int           `json:"polls"`                   // requests so far
	Trouble     int           `json:"trouble,omitempty"`       // answers in a row that said nothing about the task
	NotFound    int           `json:"not_found,omitempty"`     // "not found" in a row
	NotFoundAge time.Duration `json:"not_found_age,omitempty"` // the task's age at the first of them
	WithoutFile int           `json:"without_file,omitempty"`  // successes in a row of which a file was missing
	Doubt       string        `json:"doubt,omitempty"`         // the failure that must be repeated, "" for none
	DoubtAge    time.Duration `json:"doubt_age,omitempty"`     // the task's age when it was first told
	AloneUntil  time.Time     `json:"alone_until,omitzero"`    // it is asked about alone until then: it is refused in company
	RefusedAt   time.Time     `json:"refused_at,omitzero"`     // the first of the refusals of the key in a row
	Next        time.Time     `json:"next,omitzero"`           // when the next poll is due, while the job sleeps
	Called      time.Time     `json:"called,omitzero"`         // when it was asked about last because of a callback, or will be
	Seen        time.Time     `json:"seen,omitzero"`           // the last Woken that was seen
	Woken       time.Time     `json:"-"`                       // when a callback woke the sleeping job last, as the job says; zero: none has
}

// backsOff reports whether the next poll waits for longer than usual, for a reason: no
// callback brings it forward.
func (m Memory) backsOff() bool { return m.Trouble > 0 || m.WithoutFile > 0 }

// until returns the memory as of now and of an age of the task. What it remembers from
// later was written before a clock went back.
func (m Memory) until(now time.Time, age time.Duration) Memory {
	if m.RefusedAt.After(now) {
		m.RefusedAt = now
	}
	if most := now.Add(shortFor); m.AloneUntil.After(most) {
		m.AloneUntil = most
	}
	m.NotFoundAge, m.DoubtAge = min(m.NotFoundAge, age), min(m.DoubtAge, age)
	return m
}

// verdict is a poll's outcome and what it changes.
type verdict struct {
	outcome    pollOutcome
	status     string        // the task's status now
	endedBy    string        // who ended it; "" while it is open
	message    string        // why, for the consumer
	trouble    string        // what went wrong, for the operator; "" when answered
	asked      bool          // the relay was; else the task expired without a poll
	late       bool          // the task has ended already, but not by the provider's word
	unknown    bool          // the status word is not in the table
	retryAfter time.Duration // what the relay asked for, 0 where it did not
	memory     Memory
}

// judge decides what a reply or an error means for a task. Only a record with a
// known word makes a task succeeded or failed; errors never do. A task that has
// not ended by its deadline is expired.
func judge(task db.PollTarget, m Memory, grace time.Duration, reply *klingapi.Reply, err error) verdict {
	m.Polls = max(m.Polls, task.Polls) + 1
	v := verdict{status: task.Status, endedBy: task.EndedBy, memory: m, asked: true, late: db.Terminal(task.Status)}
	if err != nil {
		v.judgeError(task, grace, err)
	} else {
		v.judgeRecord(task, reply.Record)
	}
	if !db.Terminal(v.status) && task.Left <= 0 {
		v.expire()
	}
	return v
}

// expireUnasked is the verdict on a task whose deadline passes while the relay
// must not be asked, or cannot be asked soon enough.
func expireUnasked(task db.PollTarget, m Memory) verdict {
	m.Polls = max(m.Polls, task.Polls)
	v := verdict{outcome: unreachable, status: task.Status, trouble: "the relay could not be asked in time", memory: m}
	v.expire()
	return v
}

// judgeRecord goes by the provider's word.
func (v *verdict) judgeRecord(task db.PollTarget, record klingapi.Record) {
	before := v.memory
	v.memory = Memory{Polls: before.Polls}
	v.outcome = unchanged
	switch record.Status {
	case klingapi.Failed:
		v.judgeFailure(task, before, record)
	case klingapi.Stopped:
		v.end(db.Expired, db.ByRelay, joined("the relay stopped looking", record.Message))
	case klingapi.Succeeded:
		v.judgeSuccess(task, before, record)
	case klingapi.Processing:
		v.advance(db.Processing)
	case klingapi.Submitted:
		v.advance(db.Submitted)
	default:
		v.unknown = !record.Bare
		if record.Bare {
			v.memory.WithoutFile = before.WithoutFile + 1
			v.trouble = joined("the relay reports success, but that may be about the request: it names no file", record.Message)
		}
		v.advance(db.Submitted) // the relay knows the task, whatever the word means
	}
}

// judgeFailure ends a task, unless the answer may be about the request: then an
// equal one must follow after a while, with nothing else in between.
func (v *verdict) judgeFailure(task db.PollTarget, before Memory, record klingapi.Record) {
	if record.Unsure {
		doubt := record.Word + ": " + record.Message
		v.memory.Doubt, v.memory.DoubtAge = doubt, task.Age
		if before.Doubt == doubt {
			v.memory.DoubtAge = before.DoubtAge
		}
		if task.Age-v.memory.DoubtAge < confirmAfter {
			v.trouble = joined("a failure that may be one of the request; it counts when it is repeated after "+confirmAfter.String(), record.Message)
			return
		}
	}
	if record.ByRelay {
		v.end(db.Failed, db.ByRelay, record.Message)
		return
	}
	v.end(db.Failed, db.ByProvider, record.Message)
}

// judgeSuccess ends a task, unless a file is missing that may come.
func (v *verdict) judgeSuccess(task db.PollTarget, before Memory, record klingapi.Record) {
	needKey := len(record.Outputs) > 0 && !slices.ContainsFunc(record.Outputs, func(o klingapi.Output) bool { return !o.NeedsKey })
	missing := len(record.Outputs) == 0 && record.Result == nil && record.TooLarge == 0 || record.Incomplete || needKey
	if missing && before.WithoutFile < fileAnswers && (task.Left > 0 || v.late) {
		v.memory.WithoutFile = before.WithoutFile + 1
		v.trouble = joined("succeeded, but a file is still missing", record.Message)
		return
	}
	message := record.Message
	switch {
	case record.TooLarge > 0:
		message = joined(fmt.Sprintf("%d files came inside the answer and are larger than %d kB: they were left out", record.TooLarge, klingapi.MaxInline>>10), message)
	case len(record.Outputs) == 0 && record.Result == nil && message == "":
		message = "the provider reports success but gave no output URL"
	}
	v.end(db.Succeeded, db.ByProvider, message)
}

// joined appends what was said to what it means.
func joined(meaning, said string) string {
	if said == "" {
		return meaning
	}
	return meaning + ": " + said
}

// end ends a task. One that has ended already is only interested in the provider's
// own word.
func (v *verdict) end(status, by, message string) {
	if v.late && by != db.ByProvider {
		return
	}
	v.outcome, v.status, v.endedBy, v.message = finished, status, by, message
}

// advance moves forward only: a relay that says submitted after processing changes
// nothing, and nothing but an end is of interest to a task that has ended.
func (v *verdict) advance(status string) {
	if v.late {
		return
	}
	if forward[status] > forward[v.status] {
		v.outcome, v.status = changed, status
	}
}

// forward is the order of the states of a task that is open.
var forward = map[string]int{db.Pending: 0, db.Submitted: 1, db.Processing: 2}

// judgeError keeps the status, but for a "not found" that lasts.
func (v *verdict) judgeError(task db.PollTarget, grace time.Duration, err error) {
	var apiErr *klingapi.Error
	if !errors.As(err, &apiErr) {
		apiErr = &klingapi.Error{Kind: klingapi.Unreachable, Message: err.Error()}
	}
	v.trouble, v.retryAfter = apiErr.Error(), apiErr.RetryAfter
	v.outcome = outcomeOf[apiErr.Kind]
	v.memory.Doubt, v.memory.DoubtAge = "", 0 // something else came in between
	if v.outcome != notFound {
		v.memory.Trouble++
		v.memory.NotFound = 0 // no longer in a row
		return
	}
	if task.UpstreamStatus != "" {
		grace *= knownFactor
	}
	v.memory.Trouble = 0
	if v.memory.NotFound == 0 {
		v.memory.NotFoundAge = task.Age
	}
	v.memory.NotFound++
	if !v.late && v.memory.NotFound >= notFoundAnswers && task.Age-v.memory.NotFoundAge >= grace {
		v.status, v.endedBy = db.NotFound, db.ByKlingwatch
		v.message = fmt.Sprintf("the relay does not know this task (%d answers in a row): %s", v.memory.NotFound, apiErr.Message)
	}
}

// checkedLate reports whether a task that ended so is asked again: the provider has
// not said the last word.
func (v verdict) checkedLate() bool {
	return v.status == db.Expired || v.status == db.NotFound || v.status == db.Failed && v.endedBy == db.ByRelay
}

// outcomeOf says which outcome a kind of error is.
var outcomeOf = map[klingapi.ErrorKind]pollOutcome{
	klingapi.Unreachable:   unreachable,
	klingapi.Unavailable:   unreachable,
	klingapi.Throttled:     throttled,
	klingapi.Refused:       refused,
	klingapi.TokenTime:     unreachable, // the next token goes by the relay's clock
	klingapi.NotFound:      notFound,
	klingapi.Unreadable:    unreadable,
	klingapi.Rejected:      unreadable,
	klingapi.Misconfigured: unreadable,
}

func (v *verdict) expire() {
	v.message = "not finished by its deadline; last known status: " + v.status
	if v.trouble != "" {
		v.message += "; last answer: " + v.trouble
	}
	v.status, v.endedBy = db.Expired, db.ByKlingwatch
}
