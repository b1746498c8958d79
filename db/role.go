package db

import "context"

// MissingRoles returns those of the two roles that the server lacks.
func MissingRoles(ctx context.Context, q Querier) (missing []string, err error) {
	err = q.QueryRow(ctx, `
		select coalesce(array_agg(name), '{}')
		from unnest(array['klingwatch_producer', 'klingwatch_reader']) as name
		where not exists (select from pg_roles where rolname = name)`).Scan(&missing)
	return missing, err
}

// Ping tells whether the database answers and has our tables.
func Ping(ctx context.Context, q Querier) error {
	_, err := q.Exec(ctx, `select from klingwatch.tasks limit 0`)
	return err
}
