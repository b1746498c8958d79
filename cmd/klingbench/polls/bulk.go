package polls

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// oldStep is the last step of the schema that stood on 2026-11-23, before there were
// several relays, apps that are kept apart, and reports by day: what inserts are compared
// with.
const oldStep = 9

// withBoth calls work with a database of today's schema and one of the old one. No worker
// runs.
func withBoth(ctx context.Context, b *bench.Bench, work func(today, old *bench.Database) error) error {
	return b.WithDatabase(ctx, func(today *bench.Database) error {
		return b.WithOldDatabase(ctx, oldStep, func(old *bench.Database) error { return work(today, old) })
	})
}

// inserted is what inserts took.
type inserted struct {
	rows     int
	elapsed  time.Duration
	postgres time.Duration // CPU
}

func (i *inserted) add(rows int, u bench.Usage) {
	i.rows += rows
	i.elapsed += u.Elapsed
	i.postgres += u.Postgres
}

// rate in rows per second.
func (i inserted) rate() float64 { return figures.Ratio(float64(i.rows), i.elapsed.Seconds()) }

// cpu of Postgres per row in microseconds.
func (i inserted) cpu() float64 {
	return figures.Ratio(figures.Microseconds(i.postgres), float64(i.rows))
}

// measureBulk compares COPY into tasks with COPY into its two poorer copies, and into
// tasks of the old schema, in turns.
func (p insertPlan) measureBulk(ctx context.Context, b *bench.Bench, run int, s *figures.Series) error {
	return withBoth(ctx, b, func(today, old *bench.Database) error {
		if err := createBareTables(ctx, today.Pool); err != nil {
			return fmt.Errorf("creating tables to compare with: %w", err)
		}
		var bare, untriggered, ours, before inserted
		copies := []struct {
			d     *bench.Database
			table string
			used  *inserted
		}{{today, "bare", &bare}, {today, "untriggered", &untriggered}, {today, "tasks", &ours}, {old, "tasks", &before}}
		if run%2 == 1 {
			copies[2], copies[3] = copies[3], copies[2]
		}
		for _, one := range copies {
			if err := p.copyOnce(ctx, b, one.d, one.table, one.used); err != nil {
				return err
			}
		}
		s.Add("bare_copy_rows_per_second", "COPY into a bare table without checks and indexes", "rows/s", bare.rate(), nil)
		s.Add("untriggered_copy_rows_per_second", "COPY into tasks without its trigger", "rows/s", untriggered.rate(), nil)
		s.Add("copy_rows_per_second", "COPY into tasks, jobs included", "rows/s", ours.rate(), nil)
		s.Add("copy_part_of_bare", "COPY: tasks : bare table", "", figures.Ratio(ours.rate(), bare.rate()), figures.AtLeast(0.08))
		s.Add("copy_part_of_untriggered", "COPY: tasks : tasks without its trigger", "", figures.Ratio(ours.rate(), untriggered.rate()), nil)
		addSchemas(s, "copy", "COPY", ours, before)
		return nil
	})
}

func (p insertPlan) copyOnce(ctx context.Context, b *bench.Bench, d *bench.Database, table string, used *inserted) error {
	if err := emptyTable(ctx, d.Pool, table); err != nil {
		return err
	}
	if err := d.Checkpoint(ctx); err != nil {
		return err
	}
	u, err := b.Spent(ctx, os.Getpid(), b.Relay, func() error { return copyTasks(ctx, d.Pool, table, 1, p.rows) })
	used.add(p.rows, u)
	return err
}

// addSchemas adds how today's schema takes tasks, compared with the old one.
func addSchemas(s *figures.Series, name, label string, ours, before inserted) {
	s.Add(name+"_to_old", label+": rows/s, today's schema : that of 2026-11-23", "", figures.Ratio(ours.rate(), before.rate()), figures.AtLeast(0.95))
	s.Add(name+"_cpu_to_old", label+": CPU of Postgres, today's schema : that of 2026-11-23", "", figures.Ratio(ours.cpu(), before.cpu()), nil)
	s.Add(name+"_cpu_per_row", label+": CPU of Postgres", "us", ours.cpu(), nil)
}

// schema is a database that an app inserts single rows into, with its own connection.
type schema struct {
	*bench.Database
	conn *pgx.Conn
	inserted
}

const (
	// rateTurns is how often each schema has its turn when single rows are inserted.
	rateTurns = 5
	// warmRows are inserted first: a session reads the catalogs and plans its statements.
	warmRows = 20
)

// measureRate inserts single rows one after the other on one connection of an app, into
// today's schema and the old one in turns.
func (p insertPlan) measureRate(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return withBoth(ctx, b, func(today, old *bench.Database) error {
		if err := createApp(ctx, today.Pool); err != nil {
			return err
		}
		ours, before := &schema{Database: today}, &schema{Database: old}
		for _, one := range []*schema{ours, before} {
			if err := one.open(ctx); err != nil {
				return err
			}
			defer one.conn.Close(context.WithoutCancel(ctx))
		}
		turns := []*schema{ours, before}
		for range rateTurns {
			for _, one := range turns {
				if err := one.insertFor(ctx, b, p.rateTime/rateTurns); err != nil {
					return err
				}
			}
			slices.Reverse(turns)
		}
		s.Add("single_inserts_per_second", "single-row inserts of an app, one connection", "rows/s", ours.rate(), nil)
		addSchemas(s, "single", "single-row inserts", ours.inserted, before.inserted)
		return nil
	})
}

// open connects, and inserts a few rows that do not count.
func (c *schema) open(ctx context.Context) (err error) {
	if c.conn, err = connectApp(ctx, c.URL); err != nil {
		return err
	}
	for n := range warmRows {
		if err := insertTask(ctx, c.conn, -n); err != nil {
			return err
		}
	}
	return nil
}

// insertFor inserts rows for some time.
func (c *schema) insertFor(ctx context.Context, b *bench.Bench, d time.Duration) error {
	rows := 0
	u, err := b.Spent(ctx, os.Getpid(), b.Relay, func() error {
		for begun := time.Now(); time.Since(begun) < d; {
			rows++
			if err := insertTask(ctx, c.conn, c.rows+rows); err != nil {
				return err
			}
		}
		return nil
	})
	c.add(rows, u)
	return err
}
