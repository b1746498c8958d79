package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/migrations"
)

const (
	oldestMajor = 14
	// processConns is what one process takes at most: its pool and the connection
	// that holds the instance's lock.
	processConns = serveConns + 1
	// overdueGrace passes before work counts as overdue: a sweep and a retry fit in.
	overdueGrace = time.Minute
	// overdueBad is when somebody must look: deadlines and receivers wait.
	overdueBad = 10 * time.Minute
	// expiresSoon is when people are told that files will be cleared.
	expiresSoon = 3 * 24 * time.Hour
)

func (d *doctor) checkServer(ctx context.Context) (finding, error) {
	server, err := db.DescribeServer(ctx, d.db)
	return judgeServer(server), err
}

func judgeServer(s db.Server) finding {
	switch {
	case s.Standby:
		return bad("let DATABASE_URL name the primary", "Postgres %s is a standby, which cannot be written to", s.Version)
	case s.Major < oldestMajor:
		return bad(fmt.Sprintf("upgrade to Postgres %d or newer", oldestMajor), "Postgres %s is too old", s.Version)
	case !s.Autovacuum:
		return bad("set autovacuum = on and track_counts = on: the queue's table grows without bound", "Postgres %s runs without autovacuum", s.Version)
	case !s.Fsync && !thrownAway(s.DataDirectory):
		return bad("set fsync = on: a crash of the machine may destroy the database", "Postgres %s runs with fsync off", s.Version)
	case !s.Fsync:
		return fine("Postgres %s; fsync is off, this database is thrown away at the end", s.Version)
	}
	return fine("Postgres %s", s.Version)
}

// thrownAway recognises the directories of klingwatch dev and of our tests.
func thrownAway(dataDirectory string) bool {
	return strings.Contains(dataDirectory, "/klingwatch-dev-") || strings.Contains(dataDirectory, "/klingwatch-dbtest-")
}

func (d *doctor) checkConnections(ctx context.Context) (finding, error) {
	server, err := db.DescribeServer(ctx, d.db)
	if err != nil {
		return finding{}, err
	}
	instances, err := db.LiveInstances(ctx, d.db)
	return judgeConnections(server, instances), err
}

// judgeConnections wants room for the processes that run, or for a first one.
func judgeConnections(s db.Server, instances int) finding {
	room := max(s.Connections-s.Others, 0) / processConns
	if room < max(instances, 1) {
		return warn("raise max_connections: each klingwatch process takes up to "+fmt.Sprint(processConns),
			"%d connections, %d of them in use by others: enough for %d processes of klingwatch, %d run", s.Connections, s.Others, room, instances)
	}
	return fine("%d connections, %d of them in use by others: enough for %d processes of klingwatch, %d run", s.Connections, s.Others, room, instances)
}

func (d *doctor) checkMigrations(ctx context.Context) (finding, error) {
	pending, err := migrations.Pending(ctx, d.db.Pool)
	switch {
	case errors.Is(err, migrations.ErrNewerDatabase):
		return bad("install the newer klingwatch", "the database is newer than this klingwatch (%s)", version()), nil
	case err != nil:
		return finding{}, err
	case len(pending) > 0:
		return bad("run klingwatch migrate", "%d are pending: %s", len(pending), names(pending)), nil
	}
	return fine("none is pending"), nil
}

func (d *doctor) checkDatabaseClock(ctx context.Context) (finding, error) {
	conn, err := d.db.Acquire(ctx)
	if err != nil {
		return finding{}, err
	}
	defer conn.Release()
	sent := time.Now()
	read, err := db.Clock(ctx, conn)
	skew, within := skewOf(read, sent, time.Now())
	return judgeClock("the database's", skew, within, 2*time.Second, time.Minute), err
}

func (d *doctor) checkServices(ctx context.Context) (finding, error) {
	n, err := db.LiveInstances(ctx, d.db)
	if n == 0 {
		return warn("start klingwatch serve", "no process works on this database: tasks and webhooks wait"), err
	}
	return fine("%d at work", n), err
}

func (d *doctor) checkPolling(ctx context.Context) (finding, error) {
	reason, err := d.db.paused(ctx, "")
	if err != nil || reason == "" {
		return fine("not paused"), err
	}
	credential, err := d.credential()
	if err == nil {
		ours, err := d.db.paused(ctx, credential.Fingerprint())
		if err != nil || ours != "" {
			return bad("see key: polling resumes by itself within a minute after the relay accepts it", "%s", ours), err
		}
	}
	return warn("see whether a service still uses that key; it is not the one set here", "%s", reason), nil
}

func (d *doctor) checkRate(ctx context.Context) (finding, error) {
	backlog, err := db.TaskBacklog(ctx, d.db, d.TaskDeadline, overdueGrace)
	return judgeRate(backlog.Open, d.PollRate, d.PollInterval), err
}

// judgeRate tells whether every open task can be asked about once per interval.
func judgeRate(open int64, rate float64, interval time.Duration) finding {
	round := time.Duration(float64(open) / rate * float64(time.Second)).Round(time.Millisecond)
	found := fmt.Sprintf("%d open tasks at %g polls per second: a round takes %s, KLINGWATCH_POLL_INTERVAL is %s", open, rate, round, interval)
	if round > interval {
		return warn("raise KLINGWATCH_POLL_RATE if the relay allows it, or KLINGWATCH_POLL_INTERVAL: verdicts come late", "%s", found)
	}
	return fine("%s", found)
}

func (d *doctor) checkTasks(ctx context.Context) (finding, error) {
	backlog, err := db.TaskBacklog(ctx, d.db, d.TaskDeadline, overdueGrace)
	return judgeBacklog(backlog), err
}

// judgeBacklog finds tasks that nobody asks about.
func judgeBacklog(b db.Backlog) finding {
	const todo = "see services, polling and rate, and the log of klingwatch serve"
	switch {
	case b.Overdue > 0:
		f := warn(todo+fmt.Sprintf("; klingwatch show %d", b.Latest), "%d of %d open tasks are overdue, task %d for %s", b.Overdue, b.Open, b.Latest, short(b.LatestBy))
		if b.LatestBy > overdueBad {
			f.State = stateBad
		}
		return f
	case b.Unattended > 0:
		return warn(todo+": a running service takes them over within seconds", "%d of %d open tasks have no job in a living process", b.Unattended, b.Open)
	}
	return fine("%d open, none is overdue", b.Open)
}

func (d *doctor) checkDeliveries(ctx context.Context) (finding, error) {
	backlog, err := db.OverdueDeliveries(ctx, d.db, overdueGrace)
	return judgeDeliveries(backlog), err
}

// judgeDeliveries finds webhooks that nobody sends.
func judgeDeliveries(b db.DeliveryBacklog) finding {
	if b.Overdue == 0 {
		return fine("%d pending, none is overdue", b.Pending)
	}
	f := warn(fmt.Sprintf("see services and the log of klingwatch serve; klingwatch deliveries show %d", b.Latest),
		"%d of %d pending webhooks are overdue, delivery %d for %s", b.Overdue, b.Pending, b.Latest, short(b.LatestBy))
	if b.LatestBy > overdueBad {
		f.State = stateBad
	}
	return f
}

func (d *doctor) checkEndpoints(ctx context.Context) (finding, error) {
	endpoints, err := db.ListEndpoints(ctx, d.db)
	return judgeEndpoints(endpoints), err
}

// judgeEndpoints names the receivers that are disabled or fail.
func judgeEndpoints(endpoints []db.Endpoint) finding {
	var wrong []string
	todo := "klingwatch endpoints ping ID tells how it is reached"
	for _, e := range endpoints {
		switch {
		case e.DisabledAt != nil:
			wrong = append(wrong, fmt.Sprintf("endpoint %d is disabled (%s), %d webhooks wait", e.ID, cut(deref(e.DisabledReason), 80), e.Waiting))
			todo = "klingwatch endpoints enable ID when it is mended; endpoints ping ID tells"
		case e.FailingSince != nil:
			wrong = append(wrong, fmt.Sprintf("endpoint %d fails for %s (%s)", e.ID, ago(*e.FailingSince), cut(deref(e.LastError), 80)))
		}
	}
	if len(wrong) > 0 {
		return warn(todo, "%s", strings.Join(wrong, "; "))
	}
	return fine("%d, none is disabled or fails", len(endpoints))
}

func (d *doctor) checkOutputs(ctx context.Context) (finding, error) {
	soon, err := db.ExpiringOutputs(ctx, d.db, expiresSoon)
	if err != nil || soon.Outputs == 0 {
		return fine("none expires within %s", short(expiresSoon)), err
	}
	return warn("copy what you still need: klingwatch.report_outputs has the URLs with expires_at",
		"%d files of %d tasks expire within %s, the first in %s", soon.Outputs, soon.Tasks, short(expiresSoon), short(time.Until(*soon.First))), nil
}

func (d *doctor) checkSigningKeys(ctx context.Context) (finding, error) {
	keys, err := db.SigningKeys(ctx, d.db)
	return judgeSigningKeys(keys, d.keyring().Open), err
}

// judgeSigningKeys tries whether the stored keys can be read.
func judgeSigningKeys(keys []db.SigningKey, open func(stored string) (string, error)) finding {
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
