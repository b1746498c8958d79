package doctor

import (
	"net/url"
	"strings"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/outbound"
)

// judgeTwice finds two rows that lead to one relay with nothing that tells them apart.
// They know nothing of each other: not of the tasks, which are asked about twice, and not
// of the rate where their addresses differ.
func judgeTwice(rows []db.Relay) Finding {
	for i, a := range rows {
		for _, b := range rows[i+1:] {
			if f := judgePair(a, b); f.State != OK {
				return f
			}
		}
	}
	return fine("")
}

func judgePair(a, b db.Relay) Finding {
	one := oneAddress(a.BaseURL) == oneAddress(b.BaseURL)
	switch {
	case one && a.BaseURL != b.BaseURL:
		return warn("give both the same address, or remove one: they share neither rate nor pauses",
			"%s and %s are one relay by two URLs, %s and %s", a.Name, b.Name, a.BaseURL, b.BaseURL)
	case one && a.TaskPath == b.TaskPath && equal(a.Credential, b.Credential):
		return warn("remove one: a task that is tracked at both is asked about and told twice",
			"%s and %s are one relay, %s%s, with one key", a.Name, b.Name, a.BaseURL, a.TaskPath)
	case !one && (equal(a.KeyFile, b.KeyFile) || equal(a.AccessKey, b.AccessKey)):
		return warn("give both the same address where it is one relay, else a key of its own to each",
			"%s and %s use one key at two URLs, %s and %s", a.Name, b.Name, a.BaseURL, b.BaseURL)
	}
	return fine("")
}

// oneAddress is the same for all spellings of where a relay is: with http or https, www.
// or without, and those that outbound.Origin knows.
func oneAddress(baseURL string) string {
	origin, err := outbound.Origin(baseURL)
	u, parseErr := url.Parse(baseURL)
	if err != nil || parseErr != nil {
		return baseURL
	}
	_, host, _ := strings.Cut(origin, "://")
	return strings.TrimPrefix(host, "www.") + strings.TrimRight(u.EscapedPath(), "/")
}

// equal tells whether two texts are there and the same.
func equal(a, b *string) bool { return a != nil && b != nil && *a != "" && *a == *b }
