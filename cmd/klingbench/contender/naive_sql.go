package contender

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
)

// PrepareNaive creates the table of the naive service with tasks 1 to n, each
// with its River job.
func PrepareNaive(ctx context.Context, pool *pgxpool.Pool, n int) error {
	if _, err := pool.Exec(ctx, `create table klingwatch.naive (id bigint primary key, status text not null, result jsonb)`); err != nil {
		return err
	}
	// River as it comes: klingwatch's migrations drop these
	for _, index := range []string{"btree (kind)", "gin (args)", "gin (metadata)"} {
		if _, err := pool.Exec(ctx, `create index on klingwatch.river_job using `+index); err != nil {
			return err
		}
	}
	_, err := pool.Exec(ctx, `insert into klingwatch.naive (id, status) select n, 'pending' from generate_series(1, $1::int) n`, n)
	if err == nil {
		_, err = pool.Exec(ctx, `
			insert into klingwatch.river_job (kind, queue, args, max_attempts)
			select 'naive', 'naive', jsonb_build_object('id', n), 25 from generate_series(1, $1::int) n`, n)
	}
	return err
}

// AnyOpenNaive reports whether a task of the naive service has not ended.
func AnyOpenNaive(ctx context.Context, pool *pgxpool.Pool) (open bool, err error) {
	err = pool.QueryRow(ctx, `select exists (select from klingwatch.naive where status = 'pending')`).Scan(&open)
	return open, err
}

// finishNaive writes the result of a task of the naive service.
func finishNaive(ctx context.Context, pool *pgxpool.Pool, id int64, result []byte) error {
	_, err := pool.Exec(ctx, `update klingwatch.naive set status = 'succeeded', result = $2 where id = $1`, id, result)
	return err
}
