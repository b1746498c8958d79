package db

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// GiveMissingJobs gives a job to every open task, every expired task with late
// checks to come, every planned delivery and every bulk redelivery that has none: river_job is
// disposable, the tasks are not. A task that was reopened while its job was on
// the way to a long sleep is woken, too; so is a delivery that was made due then.
// It returns how many jobs were missing.
func GiveMissingJobs(ctx context.Context, q Querier) (given int, err error) {
	err = q.QueryRow(ctx, `
		select coalesce(klingwatch.give_jobs('poll', (
			select array_agg(t.id)
			from klingwatch.tasks t
			where (t.finished_at is null or t.late_checks_until > now())
			  and not exists (select from klingwatch.river_job j
			                  where j.unique_key = klingwatch.job_key('poll', t.id) and j.unique_states is not null
			                    and klingwatch.river_job_state_in_bitmask(j.unique_states, j.state)
			                    and not (t.status = 'pending' and t.last_polled_at is null
			                             and j.scheduled_at > now() + interval '15 s')))), 0)
		     + coalesce(klingwatch.give_jobs('deliver', (
			select array_agg(d.id)
			from klingwatch.deliveries d
			where d.state = 'pending' and d.next_attempt_at is not null
			  and not exists (select from klingwatch.river_job j
			                  where j.unique_key = klingwatch.job_key('deliver', d.id) and j.unique_states is not null
			                    and klingwatch.river_job_state_in_bitmask(j.unique_states, j.state)
			                    and not (d.next_attempt_at < now() and j.scheduled_at > now() + interval '15 s')))), 0)
		     + coalesce(klingwatch.give_jobs('redeliver', (
			select array_agg(r.id)
			from klingwatch.redeliveries r
			where r.finished_at is null
			  and not exists (select from klingwatch.river_job j
			                  where j.unique_key = klingwatch.job_key('redeliver', r.id) and j.unique_states is not null
			                    and klingwatch.river_job_state_in_bitmask(j.unique_states, j.state)))), 0)`).Scan(&given)
	if err != nil {
		return 0, fmt.Errorf("giving jobs to tasks that have none: %w", err)
	}
	return given, nil
}

// WakeDueJobs makes scheduled jobs whose time has come available, up to a number.
// River's own scheduler does so, too, but with a query that takes minutes where
// many come due that the planner does not know of yet.
func WakeDueJobs(ctx context.Context, q Querier, limit int) (woken int64, err error) {
	tag, err := q.Exec(ctx, `
		update klingwatch.river_job
		set state = 'available'
		where id in (select id
		             from klingwatch.river_job
		             where state = 'scheduled' and scheduled_at <= now()
		             limit @limit
		             for update skip locked)`,
		pgx.StrictNamedArgs{"limit": limit})
	if err != nil {
		return 0, fmt.Errorf("waking jobs that are due: %w", err)
	}
	return tag.RowsAffected(), nil
}

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
