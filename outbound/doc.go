// Package outbound has what a client needs to talk to machines that it does not
// trust: relays, receivers of webhooks, file servers. It bounds what they send and
// makes it harmless, in one place for all clients.
//
//	Guard        refuses private addresses when a connection is dialed, except for
//	             networks that ParseNetworks has read
//	ReadBody     reads a body up to a limit
//	RetryAfter   reads how long a server asks us to wait, up to a limit
//	Line         makes one safe line of a text, for tables and stored reasons
//	LogLine      the same for logs and traces, without the queries of URLs
//	Printable    the same for a terminal, where runs of spaces are layout
//	Truncate     shortens a text
//	Redact       hides the queries of URLs, which may contain secrets
//	Origin       names the server behind a URL, the same for all spellings
//
// A client that may reach public addresses only:
//
//	dialer := &net.Dialer{Control: outbound.Guard(nil)}
//	client := &http.Client{Transport: &http.Transport{
//		DialContext: dialer.DialContext,
//		Proxy:       nil, // a proxy would dial in our place, unguarded
//	}}
package outbound
