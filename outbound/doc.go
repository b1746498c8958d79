// Package outbound holds what it takes to talk to machines that we do not trust:
// relays, receivers of webhooks, file servers. Whatever they send is bounded and
// made harmless here, in one place for all clients.
//
//	Guard        refuses private addresses when a connection is dialed
//	ReadBody     reads a body up to a limit
//	RetryAfter   reads how long a server asks us to wait, up to a limit
//	Line, Cut    make a short, safe line of a text, for logs, tables and stored reasons
//	Visible      the same for a terminal, where runs of spaces are layout
//	Redact       hides the queries of URLs, which may hold secrets
//	Origin       names the server behind a URL, one name for all spellings
//
// A client that may reach public addresses only:
//
//	dialer := &net.Dialer{Control: outbound.Guard(nil)}
//	client := &http.Client{Transport: &http.Transport{
//		DialContext: dialer.DialContext,
//		Proxy:       nil, // a proxy would dial in our place, unguarded
//	}}
package outbound
