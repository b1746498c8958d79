package klingsim

import (
	"net/http"
	"net/url"
	"strings"
)

// Dialect is how a relay as a whole writes: the paths that it serves, its records, its errors. The words in an id choose a
// single behaviour in every dialect.
type Dialect string

// The dialects. The zero value of Config.Dialect is Kling.
const (
	Kling  Dialect = "kling"   // Kling's old API, and relays that repeat its answers
	NewAPI Dialect = "new-api" // new-api: two paths, its own envelope, its front end everywhere else
	V3     Dialect = "v3"      // Kling's new family: lists of tasks; the old paths stay
	Flat   Dialect = "flat"    // relays that send one URL, and errors under HTTP 200
)

// target is what a request leads to.
type target struct {
	kind     *kind    // nil: none that is served
	ids      []string // the tasks that are asked for; none: the path ends before an id
	list     bool     // the ids are in a list, as a parameter
	external bool     // the ids are external_task_ids
	family   bool     // it is a path of Kling's new family
	form     string   // of the answer, unless the words choose another; empty: the official one
}

// at completes a target with the kind and the escaped id of the path; an empty id is none.
func (to target) at(k *kind, escaped string) target {
	if strings.HasSuffix(escaped, "/") && behaviourOf(escaped)[groupTransport] == "slash" {
		escaped = strings.TrimSuffix(escaped, "/")
	}
	id, err := url.PathUnescape(escaped)
	if err != nil || strings.Contains(escaped, "/") {
		return to
	}
	to.kind = k
	if id != "" {
		to.ids = []string{id}
	}
	return to
}

// speech is what the dialects differ in.
type speech struct {
	route    func(*Relay, *http.Request) (target, bool) // false: whatever is there, it is not the API
	unrouted func(r *Relay, path string) reply          // the answer there, to everybody
	refusal  func(q *query, code int) reply             // an error that concerns no single task
	notFound func(q *query) reply                       // the answer for an unknown id
	created  func(q *query, v *view) reply              // the answer to a POST
	newID    func(h uint64) string                      // the id of a task that a POST makes
	shared   bool                                       // a task is found on every path, not only on its own
}

// speeches are the dialects as tables.
var speeches = map[Dialect]speech{
	Kling: {
		route: routeKling, unrouted: missingPage, refusal: officialRefusal, notFound: officialNotFound, created: (*query).record, newID: opaqueID,
	},
	NewAPI: {
		route: routeNewAPI, unrouted: newAPIPage, refusal: newAPIRefusal, notFound: newAPINotFound, created: newAPICreated, newID: newAPIID, shared: true,
	},
	V3: {
		route: routeV3, unrouted: missingPage, refusal: officialRefusal, notFound: officialNotFound, created: (*query).record, newID: opaqueID, shared: true,
	},
	Flat: {
		route: routeFlat, unrouted: missingPage, refusal: flatRefusal, notFound: flatNotFound, created: (*query).record, newID: opaqueID,
	},
}

// routeKling serves every documented path below the prefix.
func routeKling(r *Relay, req *http.Request) (target, bool) {
	return routeBelow(r.config.PathPrefix, req, "")
}

// routeNewAPI serves two paths below the prefix. Without an id they are there for creations only.
func routeNewAPI(r *Relay, req *http.Request) (target, bool) {
	to, ok := routeBelow(r.config.PathPrefix, req, "newapi")
	ok = ok && to.kind != nil && to.kind.action == "videos" && (to.kind.action2 == "text2video" || to.kind.action2 == "image2video")
	return to, ok && to.fits(req.Method)
}

// routeFlat serves every documented path below the prefix, and below /v1, where most relays put their own API.
func routeFlat(r *Relay, req *http.Request) (target, bool) {
	to, ok := routeBelow(r.config.PathPrefix, req, "flat")
	if !ok {
		to, ok = routeBelow("/v1", req, "flat")
	}
	return to, ok && to.kind != nil && to.fits(req.Method)
}

// fits reports whether the path is asked or posted to as it must be.
func (to target) fits(method string) bool {
	return len(to.ids) > 0 && method == http.MethodGet || len(to.ids) == 0 && method == http.MethodPost
}

// routeBelow reads {prefix}/{action}/{action2}/{id}.
func routeBelow(prefix string, req *http.Request, form string) (target, bool) {
	path, ok := strings.CutPrefix(req.URL.EscapedPath(), prefix+"/")
	if !ok {
		return target{}, false
	}
	to := target{form: form}
	k, id := route(path)
	if slashed, rest := route(strings.TrimSuffix(path, "/")); id == "" && behaviourOf(rest)[groupTransport] == "slash" {
		k, id = slashed, rest
	}
	if to.kind = k; id != "" {
		to.ids = []string{id}
	}
	return to, true
}

// Example returns the path and query of a request that the relay answers.
func (r *Relay) Example() string {
	if r.config.Dialect == V3 && r.config.MaxBatch == 1 {
		return "/tasks?task_ids=ok-1"
	}
	if r.config.Dialect == V3 {
		return "/tasks?task_ids=ok-1,fail-2"
	}
	return r.config.PathPrefix + "/videos/text2video/ok-1"
}
