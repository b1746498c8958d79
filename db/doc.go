// Package db remembers: tasks, outputs, events, deliveries and their attempts,
// and what the service knows of itself. It is the only package with query text,
// beside the migrations.
//
// There is a file for each noun, with the types that its queries take and return:
//
//	connect.go     connections and how their sessions are set up: Open, OpenWritable, OpenReadOnly
//	db.go          Querier, ErrNotFound, and what kind of error Postgres returned
//	task.go        what apps insert and people read
//	change.go      what polls read and write, and the note that a person changed a task
//	output.go      the files of a task
//	event.go       status changes, each with its deliveries, and as those read them who follow all
//	delivery.go    webhooks on their way
//	bulk.go        which tasks and deliveries people choose, and what is done to many over time
//	endpoint.go    receivers and their health
//	key.go         signing keys
//	pause.go       credentials that the relay refuses
//	job.go         River's jobs: the only file that knows River's tables
//	instance.go    the processes that work on this database
//	report.go      summaries, counts, backlogs and latest happenings of the whole deployment
//	server.go      the Postgres server itself
//
// Functions are named for the fact that they establish. They take a Querier, which
// is a pool, a connection or a transaction, and run one statement each. A caller
// that needs several of them to hold together begins the transaction:
//
//	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		if err := db.RetireKeys(ctx, tx, db.KeyOwner{}, db.KeyV1, grace); err != nil {
//			return err
//		}
//		return db.AddKey(ctx, tx, db.KeyOwner{}, db.KeyV1, secret)
//	})
//
// A function that reads one row returns ErrNotFound where there is none. Other
// errors are the driver's; RefusedValue, RowLocked, Denied, OutageOf and Transient say
// what kind they are. Times are UTC, whatever the zone of the machine or of the session is. Times that several processes compare
// are the database's.
//
// A task's status changes by compare-and-set on the version of its row, and on
// when that was inserted: after the promotion of a standby that lagged, ids are given
// again:
//
//	pending -> submitted -> processing -> succeeded | failed
//	   |           |            |
//	   +-----------+------------+------> expired | not_found | canceled
//
// Every change of status makes one event, and every event one delivery for each
// receiver, all in the transaction of the change: see package ledger.
package db
