package doctor

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

// judgeNames finds relays that are known by several names. With one key that is a mistake;
// with several it may be meant: two accounts. own is the client of the settings; nil:
// there is none.
func judgeNames(rows []db.Relay, own *klingapi.Client) Finding {
	found := fmt.Sprintf("%d known, nothing is wrong with them", len(rows))
	all := withSettings(rows, own)
	for i, row := range all {
		for _, other := range all[i+1:] {
			if addressOf(row) != addressOf(other) {
				continue
			}
			one := fmt.Sprintf("%s and %s are one relay, %s", row.Name, other.Name, addressOf(row))
			const twice = "an id that is tracked at both is two tasks, asked about and told of twice"
			if row.Credential != nil && other.Credential != nil && *row.Credential == *other.Credential {
				return warn("track new tasks at one of them, and remove the other when its tasks have ended: klingwatch relays remove",
					"%s, with one key: %s; rate and pause are shared", one, twice)
			}
			found += fmt.Sprintf("; %s, with a key each: %s; each has its own rate and pause", one, twice)
		}
	}
	return fine("%s", found)
}

// withSettings adds the relay of the settings, where no service has written down yet that
// it asks it.
func withSettings(rows []db.Relay, own *klingapi.Client) []db.Relay {
	there := slices.ContainsFunc(rows, func(r db.Relay) bool { return r.Name == db.DefaultRelay })
	if there || own == nil {
		return rows
	}
	return append(slices.Clone(rows), db.Relay{Name: db.DefaultRelay, BaseURL: own.BaseURL(), TaskPath: own.TaskPath(), Credential: new(own.Credential())})
}

// addressOf is where the tasks of a relay are asked about, in one spelling.
func addressOf(r db.Relay) string {
	u, err := url.Parse(r.BaseURL)
	if err != nil {
		return r.BaseURL + r.TaskPath
	}
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), u.Port()
	if port != "" && port != map[string]string{"http": "80", "https": "443"}[scheme] {
		host = net.JoinHostPort(host, port)
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return scheme + "://" + host + strings.TrimRight(u.Path, "/") + r.TaskPath
}
