// Package poll asks relays about tasks until they end. It knows nothing of
// River: a caller hands tasks in, and each leaves with a Departure.
//
// A Lane is what the tasks of one relay share: client, rate limit, gate, pause
// and learned schedules; it outlives a lost database. A Poller holds the tasks
// that are resident in this process, as long as the process holds its lock.
//
//	lane := poll.NewLane(cfg)
//	p := poll.NewPoller(ctx, lane) // ctx ends the requests on their way
//	p.Start()                      // writers
//	go p.Run(dispatching)          // asks until dispatching ends
//	w := p.Watch(target, memory)
//	departure := <-w.Done()        // ended, to be brought back later, or an error of the database
//	p.Drain()                      // sends all tasks back
//	p.Close()                      // writes what is left
//
// The way of a task:
//
//	Watch ──▶ heap of due times ──▶ gate, pause, rate ──▶ ask ──▶ judge ──▶ write ──▶ Departure
//	              ▲                                         │         │
//	              └───────────────── pace ◀─ nothing new ───┴─────────┘
//
//	lane.go      what the tasks of one relay share
//	poller.go    the resident tasks, from coming in to leaving; heap.go by time
//	dispatch.go  when a task is due and may be asked about, to the pool of goroutines
//	deadline.go  deadlines are kept also where the relay cannot be asked in time
//	gate.go      all polling slows down while the relay is in trouble
//	paths.go     a path that the relay does not serve is asked rarely
//	pause.go     polling stops while the credential is refused
//	verdict.go   judge: what a reply means for a task; a pure function
//	pace.go      pace: when to ask again; a pure function
//	schedules.go the learned schedules in use
//	result.go    what a poll came to, as rows; writer.go writes many of them
//	trace.go     spans of polls and writes
package poll
