// Package standin has the servers of a measurement, each in a process of its own
// that costs little: a stub of the relay, receivers of webhooks, some of them in
// trouble, and a host of files.
package standin
