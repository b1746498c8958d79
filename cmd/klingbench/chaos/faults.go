package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/chaos/cluster"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// stage is all that faults happen to.
type stage struct {
	cluster   *cluster.Cluster
	clock     *cluster.Clock
	services  []*service
	watches   []*watch
	addresses []*proxy // of Postgres, one for each service
	everybody []*proxy // those, and that of the apps
	relay     *klingsim.Relay
	receivers *receivers
	producer  *producer
	report    *report

	server sync.Mutex // one fault of the server at a time, however long it takes

	mu         sync.Mutex
	faults     []window // all that happened
	outages    []window // the times of them in which klingwatch was hindered
	recoveries []recovery
	dead       []func() // release sockets that were to be dead for ever
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
	if o.kind.server {
		st.server.Lock()
		defer st.server.Unlock()
	}
	if ctx.Err() != nil {
		return nil
	}
	from := time.Now()
	err := performs[o.kind.name](st, ctx, o)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("making the fault %s: %w", o.kind.name, err)
	}
	st.mu.Lock()
	st.faults = append(st.faults, window{o.kind, from, time.Now()})
	st.mu.Unlock()
	return nil
}

func (st *stage) killWorker(ctx context.Context, o occurrence) error {
	s := st.services[o.worker]
	st.report.saidf("worker-kill: kill -9 of %s, back after %s", s.name, o.shown())
	s.kill(o.lasts)
	return bench.Pause(ctx, o.lasts)
}

func (st *stage) stopWorker(ctx context.Context, o occurrence) error {
	s := st.services[o.worker]
	st.report.saidf("worker-stop: SIGSTOP of %s for %s", s.name, o.shown())
	thaw, err := s.freeze()
	if err != nil {
		return err
	}
	return errors.Join(bench.Pause(ctx, o.lasts), thaw())
}

func (st *stage) killPostgres(ctx context.Context, o occurrence) error {
	st.report.saidf("postgres-kill: kill -9 of all its processes, back after %s", o.shown())
	primary := st.cluster.Current()
	if err := primary.Kill(); err != nil {
		return err
	}
	from := time.Now()
	_ = bench.Pause(ctx, o.lasts)
	to := time.Now()
	if err := primary.Start(context.WithoutCancel(ctx)); err != nil { // a killed server leaves traces that only a start removes
		return err
	}
	return st.recover(ctx, window{o.kind, from, to})
}

func (st *stage) endSessions(ctx context.Context, o occurrence) error {
	st.report.saidf("sessions: pg_terminate_backend again and again for %s", o.shown())
	for end := time.Now().Add(o.lasts); time.Now().Before(end); {
		if err := st.cluster.AsAdmin(ctx, cluster.EndSessions); err != nil {
			// the server may be away, too; it did the same to the sessions
			st.report.saidf("sessions: %s", process.LastLine(err.Error()))
		}
		if err := bench.Pause(ctx, second/2); err != nil {
			return err
		}
	}
	return nil
}

// beReadOnly is for the whole server and its open sessions, or for the database,
// whose open sessions are then ended.
func (st *stage) beReadOnly(ctx context.Context, o occurrence) error {
	what, set, ofDatabase := "the server", cluster.SetReadOnly, o.choice%2 == 1
	if ofDatabase {
		what, set = "the database, for new sessions", cluster.SetDatabaseReadOnly
	}
	st.report.saidf("read-only: %s, for %s", what, o.shown())
	change := func(ctx context.Context, on bool) error {
		return st.cluster.AsAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			if err := set(ctx, conn, on); err != nil || !ofDatabase {
				return err
			}
			return cluster.EndSessions(ctx, conn) // they keep what they began with
		})
	}
	err := change(ctx, true)
	from := time.Now()
	if err == nil {
		err = bench.Pause(ctx, o.lasts)
	}
	to := time.Now()
	if err := errors.Join(err, change(context.WithoutCancel(ctx), false)); err != nil {
		return err
	}
	return st.recover(ctx, window{o.kind, from, to})
}

// takeConnections takes all connections, and then those that klingwatch has.
func (st *stage) takeConnections(ctx context.Context, o occurrence) error {
	st.report.saidf("connections: another role takes all for %s", o.shown())
	from := time.Now()
	if err := st.crowd(ctx, from.Add(o.lasts)); err != nil {
		return err
	}
	return st.recover(ctx, window{o.kind, from, time.Now()})
}

// crowd holds all connections until some time.
func (st *stage) crowd(ctx context.Context, end time.Time) error {
	var taken []*pgx.Conn
	defer func() {
		for _, conn := range taken {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	url, ended := st.cluster.URL(st.cluster.Current().Addr(), cluster.Crowd), false
	for time.Now().Before(end) && ctx.Err() == nil {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			taken = append(taken, conn)
			continue
		}
		if !ended {
			ended = true
			if err := st.cluster.AsAdmin(ctx, cluster.EndSessions); err != nil {
				return err
			}
		}
		_ = bench.Pause(ctx, second/50)
	}
	return nil
}

func (st *stage) changeRoles(ctx context.Context, o occurrence) error {
	hold := o.lasts * time.Duration(o.choice%2) // at once, or not
	st.report.saidf("flip: a standby that has everything becomes the primary, %s after that was made read-only", hold.Round(second/10))
	out, err := st.change(ctx, o, 0, hold)
	if err != nil {
		return err
	}
	return st.recover(ctx, out)
}

func (st *stage) loseAndChangeRoles(ctx context.Context, o occurrence) error {
	lag := o.lasts / 2
	st.report.saidf("flip-lossy: a standby that misses the last %s becomes the primary", lag.Round(second/10))
	out, err := st.change(ctx, o, lag, (o.lasts-lag)*time.Duration(o.choice%2))
	if err != nil {
		return err
	}
	lost, err := st.producer.insertLost(ctx, st.cluster)
	if err != nil {
		return err
	}
	st.report.saidf("flip-lossy: the app inserted %d lost tasks again", lost)
	return st.recover(ctx, out)
}

// change changes the roles of the servers, and returns when there was no primary.
func (st *stage) change(ctx context.Context, o occurrence, lag, hold time.Duration) (out window, err error) {
	frozen, err := st.cluster.Change(ctx, lag, hold)
	if err != nil {
		return out, err
	}
	st.move(st.cluster.Current().Addr())
	return window{o.kind, frozen, time.Now()}, nil
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
	if o.choice%2 == 0 {
		defer release()
	} else {
		st.mu.Lock()
		st.dead = append(st.dead, release)
		st.mu.Unlock()
	}
	return bench.Pause(ctx, o.lasts)
}

// release ends what was to last for ever: Postgres learns which sockets klingwatch has
// closed.
func (st *stage) release() {
	for _, release := range st.dead {
		release()
	}
}

func (st *stage) stepClock(ctx context.Context, o occurrence) error {
	step, where := time.Hour, "forward"
	if o.choice%2 == 1 {
		step, where = -time.Hour, "back"
	}
	st.report.saidf("clock: that of Postgres steps an hour %s for %s", where, o.shown())
	return errors.Join(st.clock.Set(step), bench.Pause(ctx, o.lasts), st.clock.Set(0))
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
	err := bench.Pause(ctx, o.lasts)
	st.relay.SetOutage(0)
	st.relay.SetThrottle(false, "")
	return err
}

func (st *stage) troubleReceivers(ctx context.Context, o occurrence) error {
	m := failing + mood(o.choice%int(allMoods-failing))
	st.report.saidf("receivers: %s for %s", [...]string{failing: "500", slow: "no answer in time", abrupt: "close connections"}[m], o.shown())
	st.receivers.setMood(m)
	err := bench.Pause(ctx, o.lasts)
	st.receivers.setMood(well)
	return err
}

// shown is how long it lasts, for people.
func (o occurrence) shown() string { return o.lasts.Round(second / 10).String() }
