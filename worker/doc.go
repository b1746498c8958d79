// Package worker decides. It is the only package that speaks River.
//
// A task's River job (kind poll) asks the relay, judges the answer, writes what
// changed and snoozes until the next poll is due; it ends when the task is
// terminal. A delivery's job (kind deliver) sends one webhook request at a time
// and snoozes until the next attempt. Both rows are the truth and the jobs are
// disposable: the sweep gives a job to every row that lost its own.
//
//	poll.go      one poll, from the job to the next poll
//	verdict.go   judge: what a reply means; a pure function
//	pace.go      pace: when to ask again; a pure function
//	persist.go   the change, its event and its deliveries in one transaction
//	deliver.go   one attempt of one webhook
//	sweep.go     rows without a job, jobs of instances that are gone
//	worker.go    River's settings, start and stop
package worker
