// Package poll asks relays about tasks until they end. It knows nothing of
// River: a caller hands tasks in, and each leaves with a Departure.
//
// Relays are those that a process asks, as their rows say; Set follows the rows. A
// lane is what the tasks share that are asked about at one host with one key: rate
// limit, gate and pause. Its Poller holds those that are resident in this process.
//
//	r := poll.NewRelays(ctx, cfg) // ctx ends the requests on their way
//	r.Set(specs)                  // again whenever a row changes
//	r.Start()                     // writers
//	go r.Run(dispatching)         // asks until dispatching ends
//	w := poll.NewWatched(target, memory)
//	r.Admit(w)
//	departure := <-w.Done()       // ended, to be brought back later, or an error of the database
//	r.Drain()                     // sends all tasks back
//	r.Close()                     // writes what is left
//
// The way of a task:
//
//	Admit ──▶ heap of due times ──▶ gate, pause, rate ──▶ ask ──▶ judge ──▶ write ──▶ Departure
//	              ▲                                         │         │
//	              └───────────────── pace ◀─ nothing new ───┴─────────┘
//
//	relays.go    the relays of this process, and the lane of each
//	lane.go      what the tasks of one host and key share
//	poller.go    the resident tasks, from coming in to leaving; heap.go by time
//	batch.go     several tasks in one request, and which of them it is refused for
//	dispatch.go  when a task is due and may be asked about, to the pool of goroutines
//	deadline.go  deadlines are kept also where the relay cannot be asked in time
//	gate.go      all polling slows down while the relay is in trouble
//	paths.go     a path that the relay does not serve, or not to this key, is asked rarely
//	pause.go     polling stops while the credential is refused
//	verdict.go   judge: what a reply means for a task; a pure function
//	pace.go      pace: when to ask again; a pure function
//	schedules.go the learned schedules in use
//	result.go    what a poll came to, as rows; writer.go writes many of them
//	trace.go     spans of polls and writes
package poll
