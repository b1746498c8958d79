// Package cluster is the Postgres of a chaos run: what a managed service does to its
// customers' servers, on this machine.
//
//	cluster.go    a primary, its standby, the change of roles
//	server.go     one server: start, kill -9
//	clock.go      its clock, which steps
//	sql.go        what servers are told and asked
package cluster
