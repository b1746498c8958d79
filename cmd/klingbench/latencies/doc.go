// Package latencies measures what users feel: from the moment a task ends at the provider
// to the moment its webhook arrives, for each way to learn of the end:
//
//	fixed      one request per task and interval: nothing is known yet of such tasks
//	learned    as many requests, at the moments at which such tasks have ended before
//	batches    20 tasks in a request, and so a twentieth of the interval
//	callback   as fixed, but the provider tells of the end
//
// All get the same tasks, one after the other, and ask as often per second. Each differs from
// the first in one thing: in life these gains add up.
//
//	latency.go    the command, and the figures
//	way.go        one way from the end to the webhook
//	sql.go        tasks that have ended before, and new ones
//	picture.go    the figures as bars, for the README
package latencies
