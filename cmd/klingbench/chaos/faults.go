package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// stage is all that faults happen to.
type stage struct {
	cluster   *cluster
	clock     *serverClock
	services  []*service
	addresses []*proxy // of Postgres, one for each service
	everybody []*proxy // those, and that of the apps
	relay     *klingsim.Relay
	receivers *receivers
	producer  *producer
	report    *report

	server sync.Mutex // one fault of the server at a time, however long it takes

	mu      sync.Mutex
	windows []window
}

// performs has what each kind does. Each returns when its fault is over, and
// repairs also when ctx has ended.
var performs = map[string]func(*stage, context.Context, occurrence) error{
	workerKill: (*stage).killWorker, workerStop: (*stage).stopWorker, postgresKill: (*stage).killPostgres, sessions: (*stage).endSessions,
	readOnly: (*stage).beReadOnly, connections: (*stage).takeConnections, flip: (*stage).changeRoles, flipLossy: (*stage).loseAndChangeRoles,
	blackHole: (*stage).swallow, clock: (*stage).stepClock, relay: (*stage).troubleRelay, receiver: (*stage).troubleReceivers,
}

// perform makes one fault happen.
func (st *stage) perform(ctx context.Context, o occurrence) error {
	if slices.ContainsFunc(kinds, func(k kind) bool { return k.name == o.kind && k.server }) {
		st.server.Lock()
		defer st.server.Unlock()
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := performs[o.kind](st, ctx, o); err != nil && ctx.Err() == nil {
		return fmt.Errorf("making the fault %s: %w", o.kind, err)
	}
	return nil
}

// away notes a time in which klingwatch could not write.
func (st *stage) away(kind string, from time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.windows = append(st.windows, window{kind, from, time.Now()})
}

func (st *stage) closedWindows() []window {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.windows)
}

func (st *stage) killWorker(ctx context.Context, o occurrence) error {
	s := st.services[o.worker]
	st.report.saidf("worker-kill: kill -9 of %s, back after %s", s.name, o.shown())
	s.kill(o.lasts)
	return pause(ctx, o.lasts)
}

func (st *stage) stopWorker(ctx context.Context, o occurrence) error {
	s := st.services[o.worker]
	st.report.saidf("worker-stop: SIGSTOP of %s for %s", s.name, o.shown())
	thaw, err := s.freeze()
	if err != nil {
		return err
	}
	return errors.Join(pause(ctx, o.lasts), thaw())
}

func (st *stage) killPostgres(ctx context.Context, o occurrence) error {
	st.report.saidf("postgres-kill: kill -9 of all its processes, back after %s", o.shown())
	primary := st.cluster.current()
	if err := primary.kill(); err != nil {
		return err
	}
	from := time.Now()
	_ = pause(ctx, o.lasts)
	st.away(o.kind, from)
	return primary.start(context.WithoutCancel(ctx)) // a killed server leaves traces that only a start removes
}

func (st *stage) endSessions(ctx context.Context, o occurrence) error {
	st.report.saidf("sessions: pg_terminate_backend again and again for %s", o.shown())
	for end := time.Now().Add(o.lasts); time.Now().Before(end); {
		if err := st.cluster.asAdmin(ctx, endSessions); err != nil {
			// the server may be away, too; it did the same to the sessions
			st.report.saidf("sessions: %s", lastLine(err.Error()))
		}
		if err := pause(ctx, second/2); err != nil {
			return err
		}
	}
	return nil
}

// beReadOnly is for the whole server and its open sessions, or for the database,
// whose open sessions are then ended.
func (st *stage) beReadOnly(ctx context.Context, o occurrence) error {
	what, set := "the server", setReadOnly
	if o.choice%2 == 1 {
		what, set = "the database, for new sessions", setDatabaseReadOnly
	}
	st.report.saidf("read-only: %s, for %s", what, o.shown())
	err := st.cluster.asAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if err := set(ctx, conn, true); err != nil || o.choice%2 == 0 {
			return err
		}
		return endSessions(ctx, conn)
	})
	from := time.Now()
	if err == nil {
		err = pause(ctx, o.lasts)
	}
	st.away(o.kind, from)
	return errors.Join(err, st.cluster.asAdmin(context.WithoutCancel(ctx), func(ctx context.Context, conn *pgx.Conn) error {
		if err := set(ctx, conn, false); err != nil || o.choice%2 == 0 {
			return err
		}
		return endSessions(ctx, conn) // as an operator must: they keep what they began with
	}))
}

// takeConnections takes all connections, and then those that klingwatch has.
func (st *stage) takeConnections(ctx context.Context, o occurrence) error {
	st.report.saidf("connections: another role takes all for %s", o.shown())
	var taken []*pgx.Conn
	defer func() {
		for _, conn := range taken {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	url, ended := urlAt(st.cluster.current().addr(), crowdRole, st.cluster.password), false
	for end := time.Now().Add(o.lasts); time.Now().Before(end) && ctx.Err() == nil; {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			taken = append(taken, conn)
			continue
		}
		if !ended {
			ended = true
			if err := st.cluster.asAdmin(ctx, endSessions); err != nil {
				return err
			}
		}
		_ = pause(ctx, second/50)
	}
	return nil
}

func (st *stage) changeRoles(ctx context.Context, _ occurrence) error {
	st.report.saidf("flip: a standby that has everything becomes the primary")
	if err := st.cluster.change(ctx, 0, st.move); err != nil {
		return err
	}
	st.report.saidf("flip: new connections go to the new primary")
	return nil
}

func (st *stage) loseAndChangeRoles(ctx context.Context, o occurrence) error {
	lag := o.lasts / 2
	st.report.saidf("flip-lossy: a standby that misses the last %s becomes the primary", lag.Round(second/10))
	if err := st.cluster.change(ctx, lag, st.move); err != nil {
		return err
	}
	lost, err := st.producer.insertLost(ctx, st.cluster)
	if err == nil {
		st.report.saidf("flip-lossy: new connections go to the new primary; the app inserted %d lost tasks again", lost)
	}
	return err
}

// move makes new connections go to another server.
func (st *stage) move(addr string) {
	for _, p := range st.everybody {
		p.point(addr)
	}
}

func (st *stage) swallow(ctx context.Context, o occurrence) error {
	name, how := st.services[o.worker].name, "for "+o.shown()
	if o.choice%2 == 1 {
		how = "for ever"
	}
	st.report.saidf("blackhole: the sockets of %s to Postgres go dead %s", name, how)
	release := st.addresses[o.worker].swallow()
	err := pause(ctx, o.lasts)
	if o.choice%2 == 0 {
		release()
	}
	return err
}

func (st *stage) stepClock(ctx context.Context, o occurrence) error {
	step, where := time.Hour, "forward"
	if o.choice%2 == 1 {
		step, where = -time.Hour, "back"
	}
	st.report.saidf("clock: that of Postgres steps an hour %s for %s", where, o.shown())
	return errors.Join(st.clock.set(step), pause(ctx, o.lasts), st.clock.set(0))
}

func (st *stage) troubleRelay(ctx context.Context, o occurrence) error {
	switch o.choice % 3 {
	case 0:
		st.report.saidf("relay: 503 for %s", o.shown())
		st.relay.SetOutage(http.StatusServiceUnavailable)
	case 1:
		st.report.saidf("relay: closes connections for %s", o.shown())
		st.relay.SetOutage(klingsim.Unreachable)
	case 2:
		st.report.saidf("relay: 429 for %s", o.shown())
		st.relay.SetThrottle(true, "1")
	}
	err := pause(ctx, o.lasts)
	st.relay.SetOutage(0)
	st.relay.SetThrottle(false, "")
	return err
}

func (st *stage) troubleReceivers(ctx context.Context, o occurrence) error {
	m := failing + mood(o.choice%int(allMoods-failing))
	st.report.saidf("receivers: %s for %s", [...]string{failing: "500", slow: "no answer in time", abrupt: "close connections"}[m], o.shown())
	st.receivers.setMood(m)
	err := pause(ctx, o.lasts)
	st.receivers.setMood(well)
	return err
}

// shown is how long it lasts, for people.
func (o occurrence) shown() string { return o.lasts.Round(second / 10).String() }
