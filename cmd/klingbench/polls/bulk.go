package polls

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// measureBulk compares COPY into tasks with COPY into its two poorer copies.
// No worker runs.
func (p insertPlan) measureBulk(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := createBareTables(ctx, d.Pool); err != nil {
			return fmt.Errorf("creating tables to compare with: %w", err)
		}
		rate := map[string]float64{}
		for _, table := range []string{"bare", "untriggered", "tasks"} {
			if err := emptyTables(ctx, d.Pool); err != nil {
				return fmt.Errorf("emptying the tables: %w", err)
			}
			if err := d.Checkpoint(ctx); err != nil {
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
func (p insertPlan) measureRate(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return b.WithDatabase(ctx, func(d *bench.Database) error {
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
