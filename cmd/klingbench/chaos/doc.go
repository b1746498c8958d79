// Package chaos runs klingwatch while everything around it fails, and checks
// afterwards that nothing was lost, doubled or left behind.
//
//	plan.go       which faults, when and how long: a pure function of the seed
//	open.go       starts everything: cluster/ is Postgres
//	chaos.go      lets the plan happen, waits, ends everything
//	proxy.go      the address of Postgres: what klingwatch connects to
//	service.go    klingwatch serve; logbook.go its log lines; watch.go its /readyz
//	producer.go   the backend app that inserts tasks, and the person who cancels some
//	outside.go    the relay and the receivers of webhooks
//	faults.go     what each kind of fault does; recovery.go when the work goes on after one
//	facts.go      what is there in the end; sql.go the queries
//	verdict.go    what is wrong with it: pure functions; report.go prints
//
// Everything real is real: two klingwatch serve binaries, kill -9, SIGSTOP, a
// streaming standby, sockets that nobody answers on. klingwatch works as a role
// that owns its schema and may do nothing else; tasks are inserted by a member of
// klingwatch_producer.
package chaos
