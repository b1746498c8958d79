// Package operate is what people and apps ask klingwatch for: track, cancel and
// retry tasks, look at them, redeliver webhooks, manage endpoints and keys. The
// command line, the HTTP API and the pages all call it, so that an action exists
// once and answers the same everywhere.
//
// The Examples show each kind of action.
//
// Functions take a pool; an action is one transaction. An answer "no" is an
// *Error with a code; any other error is trouble with the database, or with a
// keyring that is not the service's (ledger.ErrOtherKeyring).
//
//	task.go      track, find, cancel, retry, wait
//	view.go      all that is known of a task, of a delivery
//	endpoint.go  receivers of every task's events
//	delivery.go  webhooks again, or not any more
//	key.go       the keys that sign webhooks
//	ping.go      a test webhook
//	callback.go  what relays post when a task changes
//	service.go   who works on the database, what is paused
package operate
