// Package doctor checks a deployment: its database, its relay and key, the
// processes that run, and the work that waits. It only reads, except that it asks
// the relay for its start page, without a key, and about a task that does not
// exist.
//
//	err := doctor.Examine(ctx, cfg, func(f doctor.Finding) {
//		fmt.Println(f.State, f.Check, f.Found, f.Todo)
//	})
//
// All checks are made at the same time, each within a few seconds, and reported
// in their order. A check that needs what another one found broken is skipped, so
// that each trouble is reported once.
//
//	doctor.go    what the checks need, and how they are run
//	finding.go   what a check found
//	database.go  the server, its clock, its connections, the migrations
//	relay.go     the relay, its clock, the key
//	reach.go     a request to the relay, without the key
//	clock.go     how two clocks compare
//	work.go      processes, locks, polling, tasks, webhooks, endpoints, files, signing keys
//	storage.go   dead rows, invalid indexes, what keeps vacuum from removing them, notes, the disk
package doctor
