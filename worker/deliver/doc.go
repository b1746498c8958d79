// Package deliver sends webhooks: one attempt of one delivery at a time, at a
// pace that each receiver can take. It knows nothing of River: a caller asks for
// a delivery to be worked on and learns when to come back.
//
//	s := deliver.New(cfg)
//	s.Start()       // writers
//	wait, again, err := s.Deliver(ctx, id)
//	s.Close()       // writes what is left
//
// The way of a delivery:
//
//	load ──▶ acquire a slot of its receiver ──▶ sign, send ──▶ decide ──▶ record ──▶ done, or again later
//	                 └──▶ held back: busy, failing, asked to slow down ──────┘
//
//	deliver.go    one attempt, from the row to its record
//	outcome.go    what an attempt means for the delivery; pure functions
//	receivers.go  requests at once to all receivers, receiver.go to each, with its breaker
//	writer.go     many records in one transaction, with the health of endpoints
//	health.go     endpoints that fail for days
//	log.go        logs, metrics and spans of attempts
package deliver
