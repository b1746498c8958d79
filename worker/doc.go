// Package worker works: it is the only package that speaks River, and the place
// where the steps of a task and of a delivery are put together.
//
//	w := worker.New(worker.Config{Pool: pool, Relay: relay, Webhooks: webhooks, Metrics: m, Log: log, ...})
//	err := w.Run(ctx) // until ctx ends; a lost database is waited for
//
// The way of a task, by file names:
//
//	insert    migrations/015_queues.sql: a trigger makes the job of the row
//	poll      worker/jobs.go takes the job, worker/poll asks the relay: poller.go, dispatch.go, verdict.go, pace.go
//	persist   worker/poll/result.go and writer.go, ledger/task.go: the change with outputs, event and deliveries
//	webhook   worker/jobs.go takes the job of a delivery, worker/deliver sends it: deliver.go, receivers.go, outcome.go
//	report    worker/housekeeping.go refreshes the summaries behind the views of migrations/007_reports.sql
//
// The way of a delivery:
//
//	due       ledger/task.go writes the row, migrations/015_queues.sql gives it a job
//	turn      worker/deliver/receivers.go: so many at once to all receivers, receiver.go to each, with its breaker
//	attempt   worker/deliver/deliver.go signs and sends, webhook/client.go makes the request
//	decide    worker/deliver/outcome.go: delivered, again after a while, exhausted, canceled
//	record    worker/deliver/writer.go, ledger/delivery.go: attempt, state, health of the endpoint
//	again     worker/jobs.go snoozes the job until the next attempt
//
// The rows of tasks and deliveries are the truth and the jobs are disposable: the
// sweep gives a job to every row that lost its own.
//
//	worker.go       start and stop
//	relays.go       the relays to ask, as their rows say; the row default as our settings say
//	instance.go     this process among the others: its lock, its share of the rate
//	changes.go      tasks that a person changed
//	river.go        River's settings, and its page; riverlog.go its messages, wakeups.go its ear
//	jobs.go         the shells of the jobs
//	sweep.go        rows without a job, jobs of instances that are gone, gauges
//	housekeeping.go reports, and what is old
package worker
