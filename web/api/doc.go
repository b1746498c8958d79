// Package api is the HTTP API under /v1: one file per noun.
//
//	a, err := api.New(api.Config{Pool: pool, Feed: feed, Keyring: ring, ...})
//	mux.Handle("/v1/", a)
//
// An operation is a struct of its inputs, one of its outputs, and a function: huma makes
// the OpenAPI document of them, and checks requests against it. What an operation does is
// in operate, as for the command line.
//
//	api.go          what the API stands on, and the registration of operations
//	auth.go         keys, scopes, limits
//	problem.go      errors, as RFC 9457
//	idempotency.go  requests that are repeated with an Idempotency-Key
//	page.go         lists and their cursors
//
// Types of inputs that several operations share are exported because huma reads exported
// fields only.
package api
