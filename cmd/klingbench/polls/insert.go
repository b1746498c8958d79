package polls

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// InsertCommand measures the way in and the way out.
type InsertCommand struct {
	bench.Options
	Runs    int `placeholder:"N" help:"Runs of the bulk inserts, whose median counts; default: 3, with --quick 1."`
	Singles int `placeholder:"N" help:"Single inserts whose first poll and webhook are waited for; default: 200, with --quick 40."`
	Rows    int `placeholder:"N" help:"Rows of a bulk insert; default: 100000, with --quick 10000."`
}

// Run measures.
func (cmd InsertCommand) Run(ctx context.Context, c *figures.Console) error {
	return cmd.Measure(ctx, c, "insert", cmd.plan().measure)
}

// insertPlan is the size of everything that insert does.
type insertPlan struct {
	runs, singles, rows int
	rateTime            time.Duration // of single-row inserts one after the other, into each schema
}

func (cmd InsertCommand) plan() insertPlan {
	p := insertPlan{runs: 3, singles: 200, rows: 100_000, rateTime: 5 * time.Second}
	if cmd.Quick {
		p = insertPlan{runs: 1, singles: 40, rows: 10_000, rateTime: 2 * time.Second}
	}
	for _, given := range []struct{ flag, field *int }{{&cmd.Runs, &p.runs}, {&cmd.Singles, &p.singles}, {&cmd.Rows, &p.rows}} {
		if *given.flag > 0 {
			*given.field = *given.flag
		}
	}
	return p
}

const (
	// singleDistance is the mean time between single inserts: most of the time
	// the system has nothing to do. It varies, so that inserts do not fall into
	// step with anything.
	singleDistance = 100 * time.Millisecond
	// hookPatience bounds the wait for the last webhook.
	hookPatience = 10 * time.Second
)

func (p insertPlan) measure(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
	once := figures.NewSeries(figures.Median)
	if err := p.measureSingles(ctx, b, once); err != nil {
		return nil, err
	}
	bulk := figures.NewSeries(figures.Median)
	for run := range p.runs {
		b.Progress.Sayf("run %d of %d: inserting %d rows in bulk", run+1, p.runs, p.rows)
		if err := p.measureBulk(ctx, b, run, bulk); err != nil {
			return nil, err
		}
	}
	b.Progress.Say("inserting single rows")
	rows := figures.NewSeries(figures.Median)
	if err := p.measureRate(ctx, b, rows); err != nil {
		return nil, err
	}
	return append(append(once.Result(), bulk.Result()...), rows.Result()...), nil
}

// measureSingles inserts tasks one by one into an idle system. Each ends with
// its first poll and has a callback.
func (p insertPlan) measureSingles(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: p.singles, Polls: 1}); err != nil {
			return err
		}
		return b.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error {
			if err := c.Run(ctx, b.DefaultPlan(d)); err != nil {
				return err
			}
			if err := bench.Pause(ctx, bench.Settle); err != nil {
				return err
			}
			committed, err := p.insertSingles(ctx, b, d)
			if err != nil {
				return err
			}
			seen, err := p.hooks(ctx, b)
			if err != nil {
				return err
			}
			p.addSingles(s, committed, seen)
			return nil
		})
	})
}

// insertSingles returns the moments before the commits were sent, by the number
// of the task, from 1.
func (p insertPlan) insertSingles(ctx context.Context, b *bench.Bench, d *bench.Database) (committed []time.Time, err error) {
	b.Progress.Sayf("inserting %d single tasks", p.singles)
	committed = make([]time.Time, p.singles+1)
	for n := 1; n <= p.singles; n++ {
		if committed[n], err = commitTask(ctx, d.Pool, n, b.Relay.HookURL()+strconv.Itoa(n)); err != nil {
			return nil, err
		}
		if err := bench.Pause(ctx, time.Duration((0.5+rand.Float64())*float64(singleDistance))); err != nil {
			return nil, err
		}
	}
	return committed, nil
}

// hooks waits until all webhooks have arrived.
func (p insertPlan) hooks(ctx context.Context, b *bench.Bench) ([]standin.Moments, error) {
	missing := 0
	seen, err := bench.Until(ctx, "all webhooks have arrived", hookPatience, b.Relay.Moments, func(seen []standin.Moments) bool {
		missing = 0
		for _, m := range seen[1:] {
			if m.Hook == 0 {
				missing++
			}
		}
		return missing == 0
	})
	if err != nil && missing > 0 {
		err = fmt.Errorf("%w: %d of %d are missing", err, missing, p.singles)
	}
	return seen, err
}

func (p insertPlan) addSingles(s *figures.Series, committed []time.Time, seen []standin.Moments) {
	var polled, reported []float64
	for n := 1; n <= p.singles; n++ {
		polled = append(polled, figures.Milliseconds(time.Duration(seen[n].First-committed[n].UnixNano())))
		reported = append(reported, figures.Milliseconds(time.Duration(seen[n].Hook-seen[n].Ended)))
	}
	s.Add("insert_to_poll_p50", "insert (commit) to first poll, p50", "ms", figures.Percentile(polled, 0.50), figures.AtMost(100))
	s.Add("insert_to_poll_p99", "insert (commit) to first poll, p99", "ms", figures.Percentile(polled, 0.99), figures.AtMost(300))
	s.Add("insert_to_poll_max", "insert (commit) to first poll, the latest", "ms", figures.Percentile(polled, 1), nil)
	s.Add("reply_to_webhook_p50", "terminal reply to webhook, p50", "ms", figures.Percentile(reported, 0.50), figures.AtMost(100))
	s.Add("reply_to_webhook_p99", "terminal reply to webhook, p99", "ms", figures.Percentile(reported, 0.99), nil)
	s.Add("reply_to_webhook_max", "terminal reply to webhook, the latest", "ms", figures.Percentile(reported, 1), nil)
}
