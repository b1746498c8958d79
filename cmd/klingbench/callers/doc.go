// Package callers has the clients of the HTTP API, very many in one process that costs
// little: followers of the feed, who come back after a lost connection as browsers do, and
// waiters, who ask for a task with wait. They note when they are told.
package callers
