// Package bench is what every measurement stands on: a Postgres of its own with
// fresh databases, the stub of the relay, further processes, and the counters of
// what they use.
//
//	options.Measure
//	  starts Postgres and the relay
//	  measure(bench):  WithDatabase -> WithReceivers -> WithService -> Spent(work)
//	  prints the figures
//	  stops and removes everything
package bench
