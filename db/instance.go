package db

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// instanceLock is the first half of the advisory lock key of instances ("klng"
// in ASCII); the second half is the slot.
const instanceLock = 0x6b6c6e67

// maxInstances bounds the search for a free slot.
const maxInstances = 1000

// liveInstances is a query of a with clause: the locks of the processes that work on
// this database now. It takes the parameter @class, instanceLock.
const liveInstances = ` instances as materialized (
			select objid as slot, 'kw' || objid as name, pid
			from pg_locks
			where locktype = 'advisory' and classid = @class and objsubid = 2 and granted
			  and database = (select oid from pg_database where datname = current_database())
		)`

// InstanceID names the instance in a slot. It is short because the queue keeps up to
// 100 of them in the row of a job.
func InstanceID(slot int) string { return fmt.Sprintf("kw%d", slot) }

// ClaimInstance takes the first free slot, from 1, for as long as conn lives: a
// session's advisory lock shows the others that it is alive.
//
// The server ends the session where the process sends nothing for 10 s: then others
// take over the tasks of one that was stopped, or whose host has vanished.
func ClaimInstance(ctx context.Context, conn *pgx.Conn) (slot int, err error) {
	for _, set := range []string{
		`set idle_session_timeout = '10s'`, `set tcp_keepalives_idle = 5`, `set tcp_keepalives_interval = 2`,
		`set tcp_keepalives_count = 3`, `set tcp_user_timeout = '10s'`,
	} {
		if _, err := conn.Exec(ctx, set); err != nil {
			return 0, fmt.Errorf("preparing the instance's connection: %w", err)
		}
	}
	for slot = 1; slot <= maxInstances; slot++ {
		var got bool
		if err := conn.QueryRow(ctx, `select pg_try_advisory_lock($1, $2)`, instanceLock, slot).Scan(&got); err != nil {
			return 0, fmt.Errorf("claiming an instance slot: %w", err)
		}
		if got {
			return slot, nil
		}
	}
	return 0, fmt.Errorf("claiming an instance slot: all %d are taken", maxInstances)
}

// LiveInstances counts the processes that work on this database now.
func LiveInstances(ctx context.Context, q Querier) (n int, err error) {
	err = q.QueryRow(ctx, `
		with`+liveInstances+`
		select count(*)
		from instances`,
		pgx.StrictNamedArgs{"class": instanceLock}).Scan(&n)
	return n, err
}

// ShareWork shows the other instances how many tasks are resident here, and what this one
// asks as the relay default (see AskedByAnybody), in the name
// of the connection that holds the lock. It returns the number of instances and this
// one's share of all resident tasks, from 0 to 1. An instance without tasks counts as
// having one. It returns ErrReadOnly from a server that does not accept writes any more.
func ShareWork(ctx context.Context, conn *pgx.Conn, slot, tasks int, asks string) (instances int, share float64, err error) {
	var readOnly bool
	err = conn.QueryRow(ctx, `
		with shown as materialized (
			select set_config('application_name', 'klingwatch kw' || @slot::int || ' tasks=' || @tasks::int || ' asks=' || @asks::text, false)
		),`+liveInstances+`, alive as (
			select i.slot = @slot as mine,
			       -- the name of a session of another role is hidden: it counts as having as many as this one
			       greatest(coalesce(substring(a.application_name from 'tasks=([0-9]+)')::float8, @tasks), 1) as tasks
			from instances i
			join pg_stat_activity a using (pid)
		)
		select current_setting('transaction_read_only')::boolean,
		       count(*),
		       greatest(@tasks::float8, 1) / (greatest(@tasks::float8, 1) + coalesce(sum(alive.tasks) filter (where not alive.mine), 0))
		from shown
		left join alive on true`,
		pgx.StrictNamedArgs{"class": instanceLock, "slot": slot, "tasks": tasks, "asks": asks}).Scan(&readOnly, &instances, &share)
	if err == nil && readOnly {
		err = ErrReadOnly
	}
	if err != nil {
		return 0, 0, fmt.Errorf("sharing the work: %w", err)
	}
	return instances, share, nil
}

// AskedByAnybody reports whether a process that works on this database now has shown that
// it asks this as the relay default, or may: what a session of another role asks is
// hidden, and a process of an older version does not show it.
func AskedByAnybody(ctx context.Context, q Querier, asks string) (asked bool, err error) {
	err = q.QueryRow(ctx, `
		with`+liveInstances+`
		select coalesce(bool_or(a.application_name is null or coalesce(substring(a.application_name from ' asks=(.*)$'), @asks) = @asks), false)
		from instances i
		join pg_stat_activity a using (pid)`,
		pgx.StrictNamedArgs{"class": instanceLock, "asks": asks}).Scan(&asked)
	return asked, err
}

// InstancesAskingElse counts the processes that have shown that they ask something else as
// the relay default.
func InstancesAskingElse(ctx context.Context, q Querier, asks string) (n int, err error) {
	err = q.QueryRow(ctx, `
		with`+liveInstances+`
		select count(*) filter (where substring(a.application_name from ' asks=(.*)$') <> @asks)
		from instances i
		join pg_stat_activity a using (pid)`,
		pgx.StrictNamedArgs{"class": instanceLock, "asks": asks}).Scan(&n)
	return n, err
}
