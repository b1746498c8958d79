package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/migrations"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/readable"
)

// overdueBad is when somebody must look: deadlines and receivers wait.
const overdueBad = 10 * time.Minute

func (x *examination) checkServices(ctx context.Context) (Finding, error) {
	n, err := operate.Processes(ctx, x.pool)
	if n == 0 {
		return warn("start klingwatch serve", "no process works on this database: tasks and webhooks wait"), err
	}
	return fine("%d at work", n), err
}

func (x *examination) checkLocks(ctx context.Context) (Finding, error) {
	strangers, err := db.Strangers(ctx, x.pool, migrations.LockKey)
	return judgeStrangers(strangers), err
}

// judgeStrangers names the sessions that hold locks of ours without rights. They count
// for nothing, but only one session can hold the lock of migrations.
func judgeStrangers(strangers []db.Stranger) Finding {
	if len(strangers) == 0 {
		return fine("klingwatch's locks are held by sessions that may change its tables, or by nobody")
	}
	var found, todo []string
	for _, s := range strangers {
		what := fmt.Sprintf("session %d of role %s holds %d of klingwatch's locks without rights in its schema", s.PID, s.Role, s.Locks)
		if s.Halts {
			what += ", that of migrations among them: klingwatch migrate waits for it"
		}
		found = append(found, what)
		todo = append(todo, fmt.Sprintf("pg_terminate_backend(%d)", s.PID))
	}
	return warn("find out who that is; processes at work do not mind; to end it, run: select "+strings.Join(todo, ", "), "%s", strings.Join(found, "; "))
}

func (x *examination) checkPolling(ctx context.Context) (Finding, error) {
	pauses, err := operate.Pauses(ctx, x.pool)
	if ours := slices.IndexFunc(pauses, func(p db.Pause) bool { return x.Relay != nil && p.Credential == x.Relay.Credential() }); ours >= 0 {
		return judgePause(&pauses[ours], true), err
	}
	if len(pauses) > 0 {
		return judgePause(&pauses[0], false), err
	}
	return judgePause(nil, false), err
}

// judgePause judges a pause of the credential that is set here (ours), or of
// another one; nil: there is none.
func judgePause(p *db.Pause, ours bool) Finding {
	if p == nil {
		return fine("not paused")
	}
	found := fmt.Sprintf("%s: paused for %s: the relay refuses the credential %s: %s; the next probe is in %s",
		strings.Join(p.Relays, ", "), readable.Duration(time.Since(p.PausedAt)), p.Credential, p.Reason, readable.Duration(max(time.Until(p.ProbeAt), 0)))
	if ours {
		return bad("see key: polling resumes by itself within a minute after the relay accepts it", "%s", found)
	}
	return bad("run klingwatch relays check "+strings.Join(p.Relays, ", or ")+": polling resumes by itself within a minute after the relay accepts the key", "%s", found)
}

func (x *examination) checkRate(ctx context.Context) (Finding, error) {
	backlog, err := db.TaskBacklog(ctx, x.pool, x.TaskDeadline, x.Limits.Overdue)
	return judgeRate(backlog.Open, x.PollRate, x.PollInterval), err
}

// judgeRate finds out whether every open task can be asked about once per interval.
func judgeRate(open int64, rate float64, interval time.Duration) Finding {
	round := time.Duration(float64(open) / rate * float64(time.Second)).Round(time.Millisecond)
	found := fmt.Sprintf("%d open tasks at %g polls per second: a round takes %s, KLINGWATCH_POLL_INTERVAL is %s", open, rate, round, interval)
	if round > interval {
		return warn("raise KLINGWATCH_POLL_RATE if the relay allows it, or KLINGWATCH_POLL_INTERVAL: verdicts come late", "%s", found)
	}
	return fine("%s", found)
}

func (x *examination) checkTasks(ctx context.Context) (Finding, error) {
	backlog, err := db.TaskBacklog(ctx, x.pool, x.TaskDeadline, x.Limits.Overdue)
	return judgeBacklog(backlog), err
}

// judgeBacklog finds tasks that nobody asks about.
func judgeBacklog(b db.Backlog) Finding {
	const todo = "see services, polling and rate, and the log of klingwatch serve"
	switch {
	case b.Overdue > 0:
		return overdue(b.LatestBy, todo+fmt.Sprintf("; klingwatch show %d", b.Latest), "%d of %d open tasks are overdue, task %d", b.Overdue, b.Open, b.Latest)
	case b.Unattended > 0:
		return warn(todo+": a running service takes them over within seconds", "%d of %d open tasks have no job in a living process", b.Unattended, b.Open)
	}
	return fine("%d open, none is overdue", b.Open)
}

func (x *examination) checkDeliveries(ctx context.Context) (Finding, error) {
	backlog, err := db.OverdueDeliveries(ctx, x.pool, x.Limits.Overdue)
	return judgeDeliveries(backlog), err
}

// judgeDeliveries finds webhooks that nobody sends.
func judgeDeliveries(b db.DeliveryBacklog) Finding {
	if b.Overdue == 0 {
		return fine("%d pending, none is overdue", b.Pending)
	}
	return overdue(b.LatestBy, fmt.Sprintf("see services and the log of klingwatch serve; klingwatch deliveries show %d", b.Latest),
		"%d of %d pending webhooks are overdue, delivery %d", b.Overdue, b.Pending, b.Latest)
}

// overdue is the finding about work of which something is late by a time.
func overdue(by time.Duration, todo, format string, args ...any) Finding {
	found := fmt.Sprintf(format, args...) + " for " + readable.Duration(by)
	if by > overdueBad {
		return bad(todo, "%s", found)
	}
	return warn(todo, "%s", found)
}

func (x *examination) checkJobs(ctx context.Context) (Finding, error) {
	failing, err := db.GetFailingJobs(ctx, x.pool)
	return judgeJobs(failing), err
}

// judgeJobs names work that fails again and again.
func judgeJobs(f db.FailingJobs) Finding {
	if f.Jobs == 0 {
		return fine("none fails again and again")
	}
	show := map[string]string{"poll": "klingwatch show", "deliver": "klingwatch deliveries show"}[f.Kind]
	todo := "mend what Postgres complains about, such as a trigger, a constraint or a right that somebody changed: they are tried again at least every 5 minutes"
	if show != "" {
		todo += fmt.Sprintf("; %s %d", show, f.Of)
	}
	return bad(todo, "%d fail again and again, the newest is %s %d: %s", f.Jobs, f.Kind, f.Of, outbound.Truncate(outbound.Line(f.Error), errorLength))
}

func (x *examination) checkEndpoints(ctx context.Context) (Finding, error) {
	endpoints, err := db.ListEndpoints(ctx, x.pool)
	return judgeEndpoints(endpoints), err
}

// errorLength is how much of a job's error is shown, in characters.
const errorLength = 300

// reasonLength is how much of a receiver's trouble is shown, in characters.
const reasonLength = 80

// judgeEndpoints names the receivers that are disabled or fail.
func judgeEndpoints(endpoints []db.Endpoint) Finding {
	var wrong []string
	todo := "klingwatch endpoints ping ID shows how it is reached"
	for _, e := range endpoints {
		switch {
		case e.DisabledAt != nil:
			wrong = append(wrong, fmt.Sprintf("endpoint %d is disabled (%s), %d webhooks wait", e.ID, reason(e.DisabledReason), e.Waiting))
			todo = "klingwatch endpoints enable ID when it is mended; endpoints ping ID shows whether it is"
		case e.FailingSince != nil:
			wrong = append(wrong, fmt.Sprintf("endpoint %d fails for %s (%s)", e.ID, readable.Duration(time.Since(*e.FailingSince)), reason(e.LastError)))
		}
	}
	if len(wrong) > 0 {
		return warn(todo, "%s", strings.Join(wrong, "; "))
	}
	return fine("%d, none is disabled or fails", len(endpoints))
}

func reason(text *string) string {
	if text == nil {
		return "no reason is known"
	}
	return outbound.Truncate(*text, reasonLength)
}

// checkOutputs tells a number: files expire all the time, and whether somebody has fetched
// them is not known here.
func (x *examination) checkOutputs(ctx context.Context) (Finding, error) {
	soon, err := db.ExpiringOutputs(ctx, x.pool, x.Limits.Expiring)
	within := readable.Duration(x.Limits.Expiring)
	if err != nil || soon.Outputs == 0 {
		return fine("none expires within %s", within), err
	}
	return fine("%d files of %d tasks expire within %s, the first in %s; klingwatch.report_outputs has their URLs",
		soon.Outputs, soon.Tasks, within, readable.Duration(time.Until(*soon.First))), nil
}

func (x *examination) checkSigningKeys(ctx context.Context) (Finding, error) {
	keys, err := db.SigningKeys(ctx, x.pool)
	return judgeSigningKeys(keys, x.Keyring.Open), err
}

// judgeSigningKeys tries whether the stored keys can be read.
func judgeSigningKeys(keys []db.SigningKey, open func(stored string) (string, error)) Finding {
	var first error
	closed := 0
	for _, key := range keys {
		if _, err := open(key.Secret); err != nil {
			closed++
			first = err
		}
	}
	switch {
	case closed > 0:
		return bad("give KLINGWATCH_ENCRYPTION_KEY the key that they were encrypted with, after a comma if it is an old one", "%d of %d cannot be read: %s", closed, len(keys), first)
	case len(keys) == 0:
		return fine("none yet; the first klingwatch serve makes them")
	}
	return fine("all %d can be read", len(keys))
}
