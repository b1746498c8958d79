package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// insertCommand measures the way in and the way out.
type insertCommand struct {
	options
	Runs    int `placeholder:"N" help:"Runs of the bulk inserts, whose median counts; default: 3, with --quick 1."`
	Singles int `placeholder:"N" help:"Single inserts whose first poll and webhook are waited for; default: 200, with --quick 40."`
	Rows    int `placeholder:"N" help:"Rows of a bulk insert; default: 100000, with --quick 10000."`
}

// Run measures.
func (cmd insertCommand) Run(ctx context.Context, c *figures.Console) error {
	return cmd.options.run(ctx, c, "insert", cmd.plan().measure)
}

// insertPlan is the size of everything that insert does.
type insertPlan struct {
	runs, singles, rows int
	rateTime            time.Duration // of single-row inserts one after the other
}

func (cmd insertCommand) plan() insertPlan {
	p := insertPlan{runs: 3, singles: 200, rows: 100_000, rateTime: 5 * time.Second}
	if cmd.Quick {
		p = insertPlan{runs: 1, singles: 40, rows: 10_000, rateTime: time.Second}
	}
	for _, given := range []struct{ flag, field *int }{{&cmd.Runs, &p.runs}, {&cmd.Singles, &p.singles}, {&cmd.Rows, &p.rows}} {
		if *given.flag > 0 {
			*given.field = *given.flag
		}
	}
	return p
}

const (
	// The settings that klingwatch serve has by default.
	defaultInterval = 5 * time.Second
	defaultRate     = 50
	// singleDistance is the mean distance of single inserts: most of the time
	// the system has nothing to do. It varies, so that inserts do not fall into
	// step with anything.
	singleDistance = 100 * time.Millisecond
	// hookPatience bounds the wait for the last webhook.
	hookPatience = 10 * time.Second
)

func (p insertPlan) measure(ctx context.Context, b *bench) ([]figures.Figure, error) {
	once := figures.NewSeries(figures.Median)
	if err := p.measureSingles(ctx, b, once); err != nil {
		return nil, err
	}
	bulk := figures.NewSeries(figures.Median)
	for run := range p.runs {
		b.progress.Sayf("run %d of %d: inserting %d rows in bulk", run+1, p.runs, p.rows)
		if err := p.measureBulk(ctx, b, bulk); err != nil {
			return nil, err
		}
	}
	b.progress.Say("inserting single rows")
	rows := figures.NewSeries(figures.Median)
	if err := p.measureRate(ctx, b, rows); err != nil {
		return nil, err
	}
	return append(append(once.Result(), bulk.Result()...), rows.Result()...), nil
}

// measureSingles inserts tasks one by one into an idle system. Each ends with
// its first poll and has a callback.
func (p insertPlan) measureSingles(ctx context.Context, b *bench, s *figures.Series) error {
	return b.withDatabase(ctx, func(d *database) error {
		if err := b.relay.plan(ctx, StubPlan{Tasks: p.singles, Polls: 1}); err != nil {
			return err
		}
		return b.withProcess(ctx, "worker", func(c *child) error {
			if err := c.call(ctx, "Run", b.workerPlan(d, defaultInterval, defaultRate), new(none)); err != nil {
				return err
			}
			if err := pause(ctx, settle); err != nil {
				return err
			}
			b.progress.Sayf("inserting %d single tasks", p.singles)
			committed := make([]time.Time, p.singles+1) // by number, from 1
			for n := 1; n <= p.singles; n++ {
				var err error
				if committed[n], err = commitTask(ctx, d.Pool, n, b.relay.url+hookPath+strconv.Itoa(n)); err != nil {
					return err
				}
				if err := pause(ctx, time.Duration((0.5+rand.Float64())*float64(singleDistance))); err != nil {
					return err
				}
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

// hooks waits until all webhooks have arrived.
func (p insertPlan) hooks(ctx context.Context, b *bench) (seen []moments, err error) {
	for deadline := time.Now().Add(hookPatience); ; {
		if err := b.relay.call(ctx, "Moments", none(true), &seen); err != nil {
			return nil, err
		}
		missing := 0
		for _, m := range seen[1:] {
			if m.Hook == 0 {
				missing++
			}
		}
		if missing == 0 {
			return seen, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%d of %d webhooks did not arrive within %s", missing, p.singles, hookPatience)
		}
		if err := pause(ctx, lookEvery); err != nil {
			return nil, err
		}
	}
}

func (p insertPlan) addSingles(s *figures.Series, committed []time.Time, seen []moments) {
	var polled, told []float64
	for n := 1; n <= p.singles; n++ {
		polled = append(polled, figures.Milliseconds(time.Duration(seen[n].First-committed[n].UnixNano())))
		told = append(told, figures.Milliseconds(time.Duration(seen[n].Hook-seen[n].Ended)))
	}
	s.Add("insert_to_poll_p50", "insert (commit) to first poll, p50", "ms", figures.Percentile(polled, 0.50), figures.AtMost(100))
	s.Add("insert_to_poll_p99", "insert (commit) to first poll, p99", "ms", figures.Percentile(polled, 0.99), figures.AtMost(300))
	s.Add("insert_to_poll_max", "insert (commit) to first poll, the latest", "ms", figures.Percentile(polled, 1), nil)
	s.Add("reply_to_webhook_p50", "terminal reply to webhook, p50", "ms", figures.Percentile(told, 0.50), figures.AtMost(100))
	s.Add("reply_to_webhook_p99", "terminal reply to webhook, p99", "ms", figures.Percentile(told, 0.99), nil)
	s.Add("reply_to_webhook_max", "terminal reply to webhook, the latest", "ms", figures.Percentile(told, 1), nil)
}

// measureBulk compares COPY into tasks with COPY into its two poorer copies.
// No worker runs.
func (p insertPlan) measureBulk(ctx context.Context, b *bench, s *figures.Series) error {
	return b.withDatabase(ctx, func(d *database) error {
		if err := createBareTables(ctx, d.Pool); err != nil {
			return fmt.Errorf("making tables to compare with: %w", err)
		}
		rate := map[string]float64{}
		for _, table := range []string{"bare", "untriggered", "tasks"} {
			if err := emptyTables(ctx, d.Pool); err != nil {
				return fmt.Errorf("emptying the tables: %w", err)
			}
			if err := checkpoint(ctx, d.Pool); err != nil {
				return err
			}
			begun := time.Now()
			if err := copyTasks(ctx, d.Pool, table, 1, p.rows); err != nil {
				return err
			}
			rate[table] = float64(p.rows) / time.Since(begun).Seconds()
		}
		s.Add("bare_copy_rows_per_second", "COPY into a bare table without checks and indexes", "rows/s", rate["bare"], nil)
		s.Add("untriggered_copy_rows_per_second", "COPY into tasks without its trigger", "rows/s", rate["untriggered"], nil)
		s.Add("copy_rows_per_second", "COPY into tasks, jobs included", "rows/s", rate["tasks"], nil)
		s.Add("copy_part_of_bare", "COPY: tasks : bare table", "", figures.Ratio(rate["tasks"], rate["bare"]), figures.AtLeast(0.08))
		s.Add("copy_part_of_untriggered", "COPY: tasks : tasks without its trigger", "", figures.Ratio(rate["tasks"], rate["untriggered"]), nil)
		return nil
	})
}

// measureRate inserts single rows one after the other on one connection.
func (p insertPlan) measureRate(ctx context.Context, b *bench, s *figures.Series) error {
	return b.withDatabase(ctx, func(d *database) error {
		conn, err := d.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		begun, rows := time.Now(), 0
		for time.Since(begun) < p.rateTime {
			rows++
			if err := insertTask(ctx, conn, rows); err != nil {
				return err
			}
		}
		s.Add("single_inserts_per_second", "single-row inserts, one connection", "rows/s", float64(rows)/time.Since(begun).Seconds(), nil)
		return nil
	})
}
