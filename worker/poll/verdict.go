package poll

import (
	"errors"
	"fmt"
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

	// urlAnswers is how often a success without a URL is asked again: relays
	// may copy the file to their own storage after the upstream finished.
	urlAnswers = 3
)

// Memory is what a task's job remembers between polls that write nothing.
type Memory struct {
	Polls       int           `json:"polls"`                   // questions so far
	Trouble     int           `json:"trouble,omitempty"`       // answers in a row that said nothing about the task
	NotFound    int           `json:"not_found,omitempty"`     // "not found" in a row
	NotFoundAge time.Duration `json:"not_found_age,omitempty"` // the task's age at the first of them
	WithoutURL  int           `json:"without_url,omitempty"`   // successes without a URL
	Next        time.Time     `json:"next,omitzero"`           // when the next poll is due, while the job sleeps
}

// verdict is a poll's outcome and what it changes.
type verdict struct {
	outcome    pollOutcome
	status     string        // the task's status now
	message    string        // why, for the consumer
	trouble    string        // what went wrong, for the operator; "" when answered
	asked      bool          // the relay was; else the task expired without a poll
	late       bool          // the task was expired already
	unknown    bool          // the status word is not in the table
	retryAfter time.Duration // what the relay asked for, 0 where it did not
	memory     Memory
}

// judge decides what a reply or an error means for a task. Only a record with a
// known word makes a task succeeded or failed; errors never do. A task that has
// not ended by its deadline is expired.
func judge(task db.PollTarget, m Memory, grace time.Duration, reply *klingapi.Reply, err error) verdict {
	m.Polls = max(m.Polls, task.Polls) + 1
	v := verdict{status: task.Status, memory: m, asked: true, late: task.Status == db.Expired}
	if err != nil {
		v.judgeError(task, grace, err)
	} else {
		v.judgeRecord(reply.Record, task.Left > 0)
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

// judgeRecord goes by the provider's word; patient says that there is time to
// wait for a URL.
func (v *verdict) judgeRecord(record klingapi.Record, patient bool) {
	withoutURL := v.memory.WithoutURL
	v.memory = Memory{Polls: v.memory.Polls}
	v.outcome = unchanged
	switch record.Status {
	case klingapi.Failed:
		v.outcome, v.status, v.message = finished, db.Failed, record.Message
	case klingapi.Succeeded:
		if len(record.Outputs) == 0 && withoutURL < urlAnswers && patient {
			v.memory.WithoutURL = withoutURL + 1
			v.trouble = "succeeded without a URL so far"
			return
		}
		v.outcome, v.status = finished, db.Succeeded
		if len(record.Outputs) == 0 {
			v.message = "the provider reports success but gave no output URL"
		}
	case klingapi.Processing:
		v.advance(db.Processing)
	case klingapi.Submitted:
		v.advance(db.Submitted)
	default:
		v.unknown = true
		v.advance(db.Submitted) // the relay knows the task, whatever the word means
	}
}

// advance moves forward only: a relay that says submitted after processing
// changes nothing.
// An expired task is only interested in its end.
func (v *verdict) advance(status string) {
	if v.late {
		return
	}
	order := map[string]int{db.Pending: 0, db.Submitted: 1, db.Processing: 2}
	if order[status] > order[v.status] {
		v.outcome, v.status = changed, status
	}
}

// judgeError keeps the status, but for a "not found" that lasts.
func (v *verdict) judgeError(task db.PollTarget, grace time.Duration, err error) {
	var apiErr *klingapi.Error
	if !errors.As(err, &apiErr) {
		apiErr = &klingapi.Error{Kind: klingapi.Unreachable, Message: err.Error()}
	}
	v.trouble, v.retryAfter = apiErr.Error(), apiErr.RetryAfter
	v.outcome = outcomeOf[apiErr.Kind]
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
		v.status = db.NotFound
		v.message = fmt.Sprintf("the relay does not know this task (%d answers in a row): %s", v.memory.NotFound, apiErr.Message)
	}
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
	v.status = db.Expired
}
