// Package standin has the two that answer in a measurement, each a process of
// its own that costs little: a stub of the relay, and receivers of webhooks, some
// of them in trouble.
package standin
