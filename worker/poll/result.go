package poll

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/outbound"
)

// pollResult is what a poll came to and what of it is to be written.
type pollResult struct {
	watched *Watched
	verdict verdict
	reply   *klingapi.Reply
	task    db.PollTarget  // at the time of the verdict
	change  *ledger.Change // nil: status and status word are the known ones
	trouble *db.Trouble    // nil: last_error is right already, or part of the change
	locked  time.Time      // when a lock first kept it from being written; zero: none did
	spans   *spans         // nil without tracing
}

// isNews reports whether a verdict and the reply behind it change the row, but for its
// last error.
func (v verdict) isNews(task db.PollTarget, reply *klingapi.Reply) bool {
	newWord := reply != nil && reply.Record.Word != task.UpstreamStatus && !v.late
	return v.status != task.Status || v.endedBy != task.EndedBy || newWord
}

// isNewTrouble reports whether last_error of the row is to be written.
func (v verdict) isNewTrouble(task db.PollTarget) bool {
	return v.trouble != task.LastError && troubleClass(v.trouble) != troubleClass(task.LastError)
}

// newResult decides what to write of a poll; nil: it changed nothing.
func (c *common) newResult(watched *Watched, v verdict, reply *klingapi.Reply, now time.Time) *pollResult {
	task := watched.now(now)
	news := v.isNews(task, reply)
	if !news && !v.isNewTrouble(task) {
		return nil
	}
	r := &pollResult{watched: watched, verdict: v, reply: reply, task: task}
	switch {
	case news:
		r.change = &ledger.Change{Change: changeOf(task, v, reply, c.TaskDeadline), Outputs: outputsOf(task.ID, v, reply, watched.relay.OutputLifetime), Archive: c.Archive}
		if v.status == db.Succeeded && reply != nil {
			r.change.TaskResult = reply.Record.Result
		}
	default:
		r.trouble = &db.Trouble{Task: task.ID, Created: task.CreatedAt, Version: task.Version, Error: v.trouble, Polls: v.memory.Polls}
	}
	return r
}

// troubleClass is the part of a trouble that matters for writing it again: kind,
// HTTP status and code. Messages hold request ids, another one each time.
func troubleClass(trouble string) string {
	parts := strings.SplitN(trouble, ": ", 3)
	if len(parts) > 1 && strings.HasPrefix(parts[1], "HTTP ") {
		return parts[0] + parts[1]
	}
	return parts[0]
}

// changeOf puts a verdict and the reply behind it into a row.
func changeOf(task db.PollTarget, v verdict, reply *klingapi.Reply, deadline time.Duration) db.Change {
	c := db.Change{
		Task:          task.ID,
		Created:       task.CreatedAt,
		Version:       task.Version,
		From:          task.Status,
		Status:        v.status,
		StatusMessage: v.message,
		Polls:         v.memory.Polls,
		LastError:     nonEmpty(v.trouble),
		Polled:        v.asked,
		EndedBy:       nonEmpty(v.endedBy),
		Deadline:      deadline,
	}
	if v.checkedLate() {
		c.LateChecks = LateChecks
	}
	if reply == nil {
		return c
	}
	record := reply.Record
	c.UpstreamStatus = nonEmpty(record.Word)
	c.ErrorCode = nonEmpty(reply.Code)
	c.RequestID = nonEmpty(reply.RequestID)
	c.Result = reply.Body
	c.UnitDeduction = nonEmpty(record.UnitDeduction)
	c.UpstreamCreatedAt = nonZero(record.CreatedAt)
	c.UpstreamUpdatedAt = nonZero(record.UpdatedAt)
	return c
}

// outputsOf lists the files of a task that succeeded. lifetime is that of the relay's
// files; 0: klingapi.OutputLifetime.
func outputsOf(task int64, v verdict, reply *klingapi.Reply, lifetime time.Duration) []db.Output {
	if v.status != db.Succeeded || reply == nil {
		return nil
	}
	// the provider's clock where it told the time, else ours: hours do not matter in 30 days
	finishedAt := reply.Record.UpdatedAt
	if finishedAt.IsZero() {
		finishedAt = time.Now().UTC()
	}
	cleared := finishedAt.Add(cmp.Or(lifetime, klingapi.OutputLifetime))
	outputs := make([]db.Output, len(reply.Record.Outputs))
	for i, o := range reply.Record.Outputs {
		expires := cleared
		if !o.ExpiresAt.IsZero() && o.ExpiresAt.Before(cleared) {
			expires = o.ExpiresAt
		}
		outputs[i] = db.Output{
			Task:            task,
			Kind:            string(o.Kind),
			Position:        o.Position,
			URL:             o.URL,
			UpstreamID:      nonEmpty(o.UpstreamID),
			DurationSeconds: (*json.Number)(nonEmpty(o.DurationSeconds)),
			WatermarkURL:    nonEmpty(o.WatermarkURL),
			ExpiresAt:       &expires,
			NeedsKey:        o.NeedsKey,
		}
	}
	return outputs
}

// notStored begins last_error of a task whose result could not be stored at all.
const notStored = "the result could not be stored"

// untold returns what is to be written in place of a result that Postgres refuses; nil
// where the task tells it already.
func (r *pollResult) untold(why error) *db.Trouble {
	if troubleClass(r.task.LastError) == notStored {
		return nil
	}
	return &db.Trouble{Task: r.task.ID, Created: r.task.CreatedAt, Version: r.task.Version, Error: notStored + ": " + outbound.Line(why.Error()), Polls: r.verdict.memory.Polls}
}

// reduce leaves the verdict, its reason and the URLs, and says why.
func (r *pollResult) reduce(why error) {
	note := "a part of the reply could not be stored: " + why.Error()
	c := r.change
	c.LastError = &note
	c.Result, c.TaskResult, c.RequestID, c.UnitDeduction = nil, nil, nil, nil
	c.UpstreamCreatedAt, c.UpstreamUpdatedAt = nil, nil
	for i := range c.Outputs {
		c.Outputs[i].UpstreamID, c.Outputs[i].DurationSeconds, c.Outputs[i].ExpiresAt = nil, nil, nil
	}
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func nonZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
