// Package deliver sends webhooks: one attempt of one delivery at a time, at a
// pace that each receiver can take. It knows nothing of River: a caller asks for
// a delivery to be worked on and learns when to come back.
//
//	s := deliver.New(cfg)
//	s.Start()       // writers
//	next, again, err := s.Deliver(ctx, id, slept)
//	s.Close()       // writes what is left
//
// The way of a delivery:
//
//	load ──▶ acquire a slot of its receiver ──▶ sign, send ──▶ decide ──▶ record ──▶ done, or again later
//	                 └──▶ held back: busy, failing, asked to slow down ──────┘
//
// A receiver is an endpoint or the URL of a callback. Callbacks of many apps may share
// a host, which answers for connections only. Nobody knows who is healthy before it has
// answered: so who is new must be asked soon, however many neighbours are silent. Three
// things see to that:
//
//	standing   receivers with a 2xx come first, then new ones, then those that fail
//	late       a request whose answer is late leaves the share of its host
//	cost       a failure makes the host's others without a 2xx wait for a moment,
//	           a longer one where far more fails than arrives
//
//	deliver.go    one attempt, from the row to its record
//	outcome.go    what an attempt means for the delivery; pure functions
//	receivers.go  from the wish to send to what came of it; slots.go: who gets a slot of the process
//	host.go       what the receivers of a host share; receiver.go: one of them
//	clock.go      whether the database's clock has moved
//	breaker.go    holds back what fails again and again, a receiver or a host
//	writer.go     many records in one transaction, with the health of endpoints
//	health.go     endpoints that fail for days
//	log.go        logs, metrics and spans of attempts
package deliver
