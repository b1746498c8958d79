// Package ledger changes tasks, endpoints and signing keys: each change with all
// that follows from it, in one transaction. Nothing else changes them.
//
//	task:     new state -> outputs -> event -> deliveries -> their jobs
//	endpoint: disabled, or failing for long -> event -> deliveries to the others
//	delivery: attempt -> state -> health of its endpoint
//
// Ids of events are derived (webhook.EventID), so that a change that is lost with a
// commit and made again is told under the same webhook-id.
//
// A change of a task is a compare-and-set: it names the row that it was
// decided on, by when it was inserted and its version, and is not made where somebody has written the row since.
// Callers decide; what they hand in is written as it is:
//
//	target, err := db.GetPollTarget(ctx, pool, id, deadline)
//	applied, err := ledger.Apply(ctx, pool, []ledger.Change{{Change: db.Change{
//		Task: id, Created: target.CreatedAt, Version: target.Version, From: target.Status, Status: db.Failed, StatusMessage: "Image pixel is invalid",
//	}}}, nil)
//	if !applied[id] {
//		// somebody was faster: read the task again
//	}
package ledger
