package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/chaos/cluster"
)

// stayingLimit is how long the end of a session may take to be seen.
const stayingLimit = 5 * second

// facts is all that the verdict goes by.
type facts struct {
	orders      map[string]order // what has to be there
	tasks       []taskFact
	deliveries  int
	undelivered []deliveryFact
	limbo       []string
	arrivals    arrivals
	services    []serviceFacts
	faults      []window
	outages     []window // the times of them in which klingwatch was hindered
	recoveries  []recovery
	staying     int // sessions of klingwatch on a server that has been replaced
}

// serviceFacts is what is known of one service.
type serviceFacts struct {
	name    string
	lines   int    // most log lines within a second
	said    string // what they said
	peak    int64  // bytes
	ends    []string
	crashes []string
	samples []sample
}

// gather reads everything from the database and from those who watched.
func (r *run) gather(ctx context.Context) (f facts, err error) {
	f.orders, f.arrivals = r.producer.committed(), r.receivers.arrived()
	f.faults, f.outages, f.recoveries = r.stage.faults, r.stage.outages, r.stage.recoveries
	for i, s := range r.services {
		one := serviceFacts{name: s.name, crashes: s.book.crashed(), samples: r.watches[i].seen()}
		one.lines, one.said = s.book.busiest()
		one.ends, one.peak = s.remembered()
		f.services = append(f.services, one)
	}
	err = r.cluster.AsAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		if f.tasks, err = readTasks(ctx, conn); err != nil {
			return err
		}
		if f.undelivered, err = readUndelivered(ctx, conn); err != nil {
			return err
		}
		if f.deliveries, err = countDeliveries(ctx, conn); err != nil {
			return err
		}
		f.limbo, err = readLimbo(ctx, conn)
		return err
	})
	if retired := r.cluster.Retired(); err == nil && retired != nil {
		r.stage.release()
		f.staying, err = staying(ctx, retired)
	}
	if err != nil {
		return f, fmt.Errorf("reading how it ended: %w", err)
	}
	return f, nil
}

// staying counts the sessions of klingwatch that a server keeps; those that have just
// ended may take a moment.
func staying(ctx context.Context, s *cluster.Server) (n int, err error) {
	for deadline := time.Now().Add(stayingLimit); ; {
		err = s.AsAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
			n, err = cluster.Staying(ctx, conn)
			return err
		})
		if err != nil || n == 0 || time.Now().After(deadline) {
			return n, err
		}
		if err := bench.Pause(ctx, second/4); err != nil {
			return n, err
		}
	}
}
