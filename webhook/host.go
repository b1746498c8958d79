package webhook

import "github.com/klingwatch/klingwatch/outbound"

// HostOf cuts a receiver's URL down to scheme and host, for logs, events and to
// recognise the receiver: path and query may hold secrets. All spellings of a
// host give the same.
func HostOf(rawURL string) string {
	origin, err := outbound.Origin(rawURL)
	if err != nil {
		return "a URL that cannot be read"
	}
	return origin
}
