package chaos

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// What the run asks the database; klingwatch itself has no use for it.

// insertOrders inserts a batch as a backend app does, in one transaction. What is
// there already stays.
func insertOrders(ctx context.Context, conn *pgx.Conn, batch []order, callbackURL string) error {
	var ids, actions, actions2 []string
	var callbacks []*string
	for _, o := range batch {
		ids, actions, actions2 = append(ids, o.id), append(actions, o.script.action), append(actions2, o.script.action2)
		var callback *string
		if o.callback {
			callback = &callbackURL
		}
		callbacks = append(callbacks, callback)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			insert into klingwatch.tasks (task_id, action, action2, callback_url)
			select * from unnest($1::text[], $2::text[], $3::text[], $4::text[])
			on conflict do nothing`, ids, actions, actions2, callbacks)
		return err
	})
}

// taskIDs are the tasks that are there.
func taskIDs(ctx context.Context, conn *pgx.Conn) (map[string]bool, error) {
	rows, err := conn.Query(ctx, `select task_id from klingwatch.tasks`)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	there := make(map[string]bool, len(ids))
	for _, id := range ids {
		there[id] = true
	}
	return there, err
}

// endlessTask is our id of an open task that never ends by itself, 0 where there is
// none.
func endlessTask(ctx context.Context, conn *pgx.Conn) (id int64, err error) {
	err = conn.QueryRow(ctx, `select coalesce(min(id), 0) from klingwatch.tasks where finished_at is null and task_id like 'never-%'`).Scan(&id)
	return id, err
}

// taskFact is a task as it is in the end.
type taskFact struct {
	TaskID    string
	Status    string
	LastError *string
	Events    int
	Terminals int // events that end it
	First     int // sequence
	Last      int
}

func readTasks(ctx context.Context, conn *pgx.Conn) ([]taskFact, error) {
	rows, err := conn.Query(ctx, `
		select t.task_id, t.status, t.last_error, count(e.id) as events,
		       count(e.id) filter (where e.type in ('task.succeeded', 'task.failed', 'task.expired', 'task.not_found', 'task.canceled')) as terminals,
		       coalesce(min(e.sequence), 0) as first, coalesce(max(e.sequence), 0) as last
		from klingwatch.tasks t
		left join klingwatch.events e on e.task = t.id
		group by t.id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[taskFact])
}

// deliveryFact is a delivery that has not arrived.
type deliveryFact struct {
	TaskID    string
	Type      string
	State     string
	LastError *string
	DueIn     *time.Duration
}

func readUndelivered(ctx context.Context, conn *pgx.Conn) ([]deliveryFact, error) {
	rows, err := conn.Query(ctx, `
		select coalesce(t.task_id, '') as task_id, e.type, d.state, d.last_error, d.next_attempt_at - now() as due_in
		from klingwatch.deliveries d
		join klingwatch.events e on e.id = d.event
		left join klingwatch.tasks t on t.id = e.task
		where d.state <> 'delivered'
		order by d.id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[deliveryFact])
}

func countDeliveries(ctx context.Context, conn *pgx.Conn) (n int, err error) {
	err = conn.QueryRow(ctx, `select count(*) from klingwatch.deliveries`).Scan(&n)
	return n, err
}

// instanceClass is the first half of the advisory lock key that shows that a process
// of klingwatch is alive; the second half is its number.
const instanceClass = 0x6b6c6e67

// readLimbo lists what nobody works on, and nobody is going to.
func readLimbo(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `
		select format('task %s is %s and has no job', t.task_id, t.status)
		from klingwatch.tasks t
		where t.finished_at is null and not exists (select from klingwatch.live_jobs j where j.key = klingwatch.job_key('poll', t.id))
		union all
		select format('delivery %s is pending and has no job', d.id)
		from klingwatch.deliveries d
		where d.state = 'pending' and not exists (select from klingwatch.live_jobs j where j.key = klingwatch.job_key('deliver', d.id))
		union all
		select format('job %s (%s) runs in %s, which is gone', j.id, convert_from(j.key, 'utf8'), j.instance)
		from klingwatch.live_jobs j
		where j.state = 'running' and j.instance not in (
			select 'kw' || objid
			from pg_locks
			where locktype = 'advisory' and classid = $1 and objsubid = 2 and granted
			  and database = (select oid from pg_database where datname = current_database()))
		union all
		select format('polling is paused: %s', reason)
		from klingwatch.polling_pauses`, instanceClass)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// openWork counts what is still to come: tasks that have not ended, deliveries that
// have not arrived.
func openWork(ctx context.Context, conn *pgx.Conn) (tasks, deliveries int, err error) {
	err = conn.QueryRow(ctx, `
		select (select count(*) from klingwatch.tasks where finished_at is null), (select count(*) from klingwatch.deliveries where state = 'pending')`).
		Scan(&tasks, &deliveries)
	return tasks, deliveries, err
}

// readProgress counts what is done.
func readProgress(ctx context.Context, conn *pgx.Conn) (p progress, err error) {
	err = conn.QueryRow(ctx, `
		select (select count(*) from klingwatch.tasks where finished_at is not null), (select count(*) from klingwatch.deliveries where state = 'delivered')`).
		Scan(&p.ended, &p.delivered)
	return p, err
}
