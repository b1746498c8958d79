// Package worker decides. It is the only package that speaks River.
//
// A task's River job (kind poll) hands its task to the process's poller and
// waits: it is resident while the next poll is near, and snoozes when it is far
// or slots run short. The poller asks the relay, judges the answer and has what
// changed written; the job ends when the task is terminal. A delivery's job
// (kind deliver) waits for a slot of its receiver, sends one webhook request and
// snoozes until the next attempt. The rows of tasks and deliveries are the truth and the jobs are
// disposable: the sweep gives a job to every row that lost its own.
//
//	job ──▶ load ──▶ heap of due times ──▶ gate, pause, rate ──▶ ask ──▶ judge ──▶ write ──▶ terminal: the job ends
//	                      ▲                                                │          │
//	                      └───────────────── pace ◀── nothing changed ─────┴──────────┘
//
//	poll.go      the River side of a poll
//	poller.go    the resident tasks, from coming in to leaving; heap.go by due time
//	dispatch.go  when one is due and may be asked, to the pool
//	gate.go      all polling slows down when the relay is in trouble
//	pause.go     polling stops while the credential is refused
//	verdict.go   judge: what a reply means; a pure function
//	pace.go      pace: when to ask again; a pure function
//	schedule.go  the schedule that is learned; learn.go from which tasks; simulate.go how well
//	persist.go   a change, its event and its deliveries in one transaction; writer.go many of them
//	batch.go     rows read and written for many jobs at once
//	deliver.go   one attempt of one webhook; outcome.go what it means for the delivery, a pure function
//	receivers.go requests at once to all receivers, receiver.go to each, with its breaker; delivery_writer.go what came of them
//	endpoint_health.go  endpoints that fail for days; signing.go their keys
//	redeliver.go many deliveries again; housekeeping.go reports, and what is old
//	stats.go     what the metrics tell of the database; trace.go spans of polls, writes and attempts
//	operate.go   cancel and retry
//	sweep.go     rows without a job, jobs of instances that are gone
//	worker.go    start, stop, the instance's lock; river.go River's settings
package worker
