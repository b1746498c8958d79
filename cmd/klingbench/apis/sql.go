package apis

import (
	"context"
	"fmt"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/operate"
)

// makeRare gives the five oldest tasks values that no other has.
func makeRare(ctx context.Context, d *bench.Database) error {
	relay := operate.NewRelay{Name: "rare", BaseURL: "http://127.0.0.1:9", Key: operate.RelayKey{File: "/nowhere"}}
	if err := operate.AddRelay(ctx, d.Pool, nil, relay); err != nil {
		return err
	}
	for _, sql := range []string{
		`update klingwatch.tasks
		 set relay = 'rare', app = 'rare', action = 'rare', action2 = 'rare', external_id = 'rare', metadata = '{"customer": "rare"}', status = 'not_found',
		     status_message = 'a reason that comes rarely'
		 where id <= 5`,
		`vacuum analyze klingwatch.tasks`,
	} {
		if _, err := d.Exec(ctx, sql); err != nil {
			return fmt.Errorf("giving tasks rare values: %w", err)
		}
	}
	return nil
}

// transactionCount is how many transactions the database has seen.
func transactionCount(ctx context.Context, d *bench.Database) (n int64, err error) {
	err = d.Pool.QueryRow(ctx, `select xact_commit + xact_rollback from pg_stat_database where datname = current_database()`).Scan(&n)
	return n, err
}
