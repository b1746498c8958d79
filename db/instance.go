package db

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// instanceLock is the first half of the advisory lock key of instances ("klng"
// in ASCII); the second half is the slot.
const instanceLock = 0x6b6c6e67

// claimTries bounds the search for a free slot: one that is free when we look may be taken
// when we ask for it.
const claimTries = 1000

// mayWrite is a condition on a session of sessions: its role may change our tasks, or may
// take on a role that may. Any role that may connect can take an advisory lock, or send a
// note: what such a session does means nothing.
const mayWrite = ` usesysid in (select usesysid from writers)`

// sessions are queries of a with clause: those that hold or wait for locks of ours, and
// the roles among theirs that may change our tasks. They take the parameter @class,
// instanceLock. Rights are looked up once for a role, not for a lock: a stranger can hold
// thousands.
const sessions = ` locks as materialized (
			select pid, classid, objid, objsubid, granted, mode
			from pg_locks
			where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
		), sessions as materialized (
			select pid, usesysid, usename, application_name
			from pg_stat_activity
			where pid in (select pid from locks)
		), writers as materialized (
			select usesysid
			from (select distinct usesysid from sessions) s
			where coalesce(has_table_privilege(usesysid, to_regclass('klingwatch.tasks'), 'update'), false)
			   or exists (select
			              from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) acl
			              where c.oid = to_regclass('klingwatch.tasks') and acl.privilege_type = 'UPDATE'
			                and acl.grantee <> 0 and pg_has_role(usesysid, acl.grantee, 'member'))
		)`

// liveInstances are queries of a with clause: the locks of the processes that work on
// this database now. They take the parameter @class, instanceLock.
const liveInstances = sessions + `, instances as materialized (
			select objid as slot, 'kw' || objid as name, application_name
			from locks
			join sessions using (pid)
			where classid = @class and objsubid = 2 and granted and mode = 'ExclusiveLock'
			  and` + mayWrite + `
		)`

// InstanceID names the instance in a slot. It is short because the queue keeps up to
// 100 of them in the row of a job.
func InstanceID(slot int) string { return fmt.Sprintf("kw%d", slot) }

// ClaimInstance takes the first free slot, from 1, for as long as conn lives: a
// session's advisory lock shows the others that it is alive. Slots that others hold are
// left alone, whoever they are.
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
	for range claimTries {
		var got bool
		if slot, got, err = claimFreeSlot(ctx, conn); err != nil || got {
			return slot, err
		}
	}
	return 0, fmt.Errorf("claiming an instance slot: others were faster %d times: see klingwatch doctor", claimTries)
}

// claimFreeSlot tries to take the first slot that nobody holds: 1, or the next one of a
// slot that is held.
func claimFreeSlot(ctx context.Context, conn *pgx.Conn) (slot int, got bool, err error) {
	err = conn.QueryRow(ctx, `
		with held as materialized (
			select objid::bigint as slot
			from pg_locks
			where locktype = 'advisory' and classid = @class and objsubid = 2
			  and database = (select oid from pg_database where datname = current_database())
		), free as materialized (
			select min(slot)::int as slot
			from (select 1 as slot union all select slot + 1 from held) candidate
			where slot between 1 and 2147483647 and slot not in (select slot from held)
		)
		select slot, pg_try_advisory_lock(@class::int, slot)
		from free`,
		pgx.StrictNamedArgs{"class": instanceLock}).Scan(&slot, &got)
	if err != nil {
		return 0, false, fmt.Errorf("claiming an instance slot: %w", err)
	}
	return slot, got, nil
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

// Work is what an instance shows the others of its work.
type Work struct {
	Tasks int     // that are resident here
	Needs float64 // which part of the rates of the relays it needs, from 0 to 1
	Asks  string  // what it asks as the relay default, see AskedByAnybody
}

// ShareWork shows the other instances this one's work, in the name of the connection that
// holds the lock. It returns the number of instances and this one's share of the rates,
// from 0 to 1: that of all resident tasks, of what all instances need together, and an
// even one of what is left, so that an instance that has few tasks can ask about more at
// once. An instance without tasks counts as having one. It returns ErrReadOnly from a
// server that does not accept writes any more.
func ShareWork(ctx context.Context, conn *pgx.Conn, slot int, work Work) (instances int, share float64, err error) {
	var readOnly bool
	err = conn.QueryRow(ctx, `
		with shown as materialized (
			select set_config('application_name', 'klingwatch kw' || @slot::int || ' tasks=' || @tasks::int || ' needs=' || ceil(@needs::float8 * 1000) || ' asks=' || @asks::text, false)
		),`+liveInstances+`, others as (
			-- the name of a session of another role is hidden: it counts as having as many tasks as
			-- this one, and as needing everything, as does an older version, which does not say
			select greatest(coalesce(substring(application_name from 'tasks=([0-9]+)')::float8, @tasks), 1) as tasks,
			       coalesce(substring(application_name from 'needs=([0-9]+)')::float8 / 1000, 1) as needs
			from instances
			where slot <> @slot
		), sums as (
			select (select count(*) from instances) as instances,
			       greatest(@tasks::float8, 1) / (greatest(@tasks::float8, 1) + coalesce(sum(tasks), 0)) as of_tasks,
			       least(@needs::float8 + coalesce(sum(needs), 0), 1) as needed
			from others
		)
		select current_setting('transaction_read_only')::boolean,
		       instances,
		       of_tasks * needed + (1 - needed) / greatest(instances, 1)
		from shown, sums`,
		pgx.StrictNamedArgs{"class": instanceLock, "slot": slot, "tasks": work.Tasks, "needs": min(work.Needs, 1), "asks": work.Asks}).Scan(&readOnly, &instances, &share)
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
		select coalesce(bool_or(application_name is null or coalesce(substring(application_name from ' asks=(.*)$'), @asks) = @asks), false)
		from instances`,
		pgx.StrictNamedArgs{"class": instanceLock, "asks": asks}).Scan(&asked)
	return asked, err
}

// InstancesAskingElse counts the processes that have shown that they ask something else as
// the relay default.
func InstancesAskingElse(ctx context.Context, q Querier, asks string) (n int, err error) {
	err = q.QueryRow(ctx, `
		with`+liveInstances+`
		select count(*) filter (where substring(application_name from ' asks=(.*)$') <> @asks)
		from instances`,
		pgx.StrictNamedArgs{"class": instanceLock, "asks": asks}).Scan(&n)
	return n, err
}

// Stranger is a session that holds locks of ours although its role may not change our
// tasks.
type Stranger struct {
	PID   int
	Role  string
	Locks int  // of ours that it holds, or waits for
	Halts bool // it holds the lock of migrations
}

// Strangers returns the sessions that hold locks of ours without rights. migrationLock
// is the key of the lock that is held while migrating.
func Strangers(ctx context.Context, q Querier, migrationLock int64) ([]Stranger, error) {
	return all[Stranger](ctx, q, `
		with`+sessions+`, held as (
			select pid, objsubid = 1 and granted as halts
			from locks
			where classid = @class and objsubid = 2
			   or objsubid = 1 and classid = (@migration::bigint >> 32)::oid and objid = (@migration::bigint & 4294967295)::oid
		)
		select s.pid,
		       s.usename::text as role,
		       count(*)::int as locks,
		       bool_or(h.halts) as halts
		from held h
		join sessions s using (pid)
		where not`+mayWrite+`
		group by s.pid, s.usename
		order by s.pid`,
		pgx.StrictNamedArgs{"class": instanceLock, "migration": migrationLock})
}

// LivePoll is what the process knows that polls a task: most polls change nothing, and are
// written nowhere.
type LivePoll struct {
	Task     int64         `json:"task"`
	Instance string        `json:"instance"`           // kw and its slot
	Polls    int           `json:"polls"`              // requests so far
	Asking   bool          `json:"asking,omitempty"`   // a request is under way
	Answered time.Duration `json:"answered,omitempty"` // how long ago the relay answered last; 0: not yet in this stay
	Due      time.Duration `json:"due"`                // until the next request; negative: it waits for its turn
}

// LiveQuestion asks the processes what they know of tasks. It travels in a note, and so do the
// answers, to a channel that nobody else knows.
type LiveQuestion struct {
	Channel string  `json:"answer_to"`
	Tasks   []int64 `json:"tasks"`
}

const (
	// mostAsked tasks fit into a note, and liveParts of them into the note of an answer.
	mostAsked = 200
	liveParts = 50
)

// answerChannel is what a channel for answers is called: an answer goes to no other.
var answerChannel = regexp.MustCompile(`^klingwatch\.answer-[a-zA-Z0-9]{20,40}$`)

// ReadLiveQuestion returns the question in a note on the channel of changes; false where
// it is none.
func ReadLiveQuestion(note string) (q LiveQuestion, ok bool) {
	err := json.Unmarshal([]byte(note), &q)
	return q, err == nil && answerChannel.MatchString(q.Channel) && len(q.Tasks) <= mostAsked
}

// AnswerLive answers a question.
func AnswerLive(ctx context.Context, q Querier, question LiveQuestion, polls []LivePoll) error {
	for part := range slices.Chunk(polls, liveParts) {
		payload, err := json.Marshal(part)
		if err != nil {
			return err
		}
		if _, err := q.Exec(ctx, `select pg_notify(@channel, @payload)`, pgx.StrictNamedArgs{"channel": question.Channel, "payload": string(payload)}); err != nil {
			return err
		}
	}
	return nil
}

// AskLive asks the processes about tasks, at most mostAsked of them, and returns what came back when all
// are answered or ctx ends.
func AskLive(ctx context.Context, conn *pgx.Conn, tasks []int64) (map[int64]LivePoll, error) {
	tasks = tasks[:min(len(tasks), mostAsked)]
	question := LiveQuestion{Channel: "klingwatch.answer-" + rand.Text(), Tasks: tasks}
	note, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, `listen "`+question.Channel+`"`); err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, `select pg_notify(@topic, @note)`, pgx.StrictNamedArgs{"topic": changedTopic, "note": string(note)}); err != nil {
		return nil, err
	}
	live := make(map[int64]LivePoll, len(tasks))
	for len(live) < len(tasks) {
		answer, err := conn.WaitForNotification(ctx)
		if err != nil {
			break // not all have answered in time
		}
		var polls []LivePoll
		if answer.Channel != question.Channel || json.Unmarshal([]byte(answer.Payload), &polls) != nil {
			continue
		}
		for _, p := range polls {
			if slices.Contains(tasks, p.Task) {
				live[p.Task] = p
			}
		}
	}
	return live, nil
}
