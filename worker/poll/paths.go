package poll

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/outbound"
)

// paths hold the requests of a path back while the relay does not serve it, or refuses
// the key there: that is mended by a person, and the other paths go on.
type paths struct {
	mu     sync.Mutex
	byPath map[string]*pathState
}

// pathState is a path whose answers were trouble since its last good one.
type pathState struct {
	gate     gate
	reason   string
	answered time.Time // the last good answer; zero: none
}

// places are the names of the paths of a relay, each of which is made up once.
type places struct {
	mu     sync.Mutex
	byPath map[[2]string]string // of action and action2
}

// place is where the relay is asked about a task, without the id.
func (r *relay) place(task *db.PollTarget) string {
	path := [2]string{task.Action, task.Action2}
	r.places.mu.Lock()
	defer r.places.mu.Unlock()
	place, known := r.places.byPath[path]
	if !known {
		if r.places.byPath == nil || len(r.places.byPath) >= maxPaths {
			r.places.byPath = map[[2]string]string{}
		}
		place = r.Client.Place(refOf(*task))
		r.places.byPath[path] = place
	}
	return place
}

// isMisconfigured reports whether an answer is not a relay's.
func isMisconfigured(err error) bool {
	apiErr, ok := errors.AsType[*klingapi.Error](err)
	return ok && apiErr.Kind == klingapi.Misconfigured
}

// admit returns a ticket for a path, or how long to wait before asking for one again.
func (ps *paths) admit(path string, now time.Time) (t ticket, wait time.Duration) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if state := ps.byPath[path]; state != nil {
		return state.gate.admit(now)
	}
	return ticket{}, 0
}

// cancel gives a ticket back that was not used.
func (ps *paths) cancel(path string, t ticket) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if state := ps.byPath[path]; state != nil {
		state.gate.cancel(t)
	}
}

// isPathTrouble reports whether an answer may speak of a path: it is not served, or not
// to this key.
func isPathTrouble(err error) bool { return isMisconfigured(err) || isRefusal(err) }

// answeredLately is how long a good answer shows that a path is open to the key.
const answeredLately = 5 * time.Minute

// maxPaths bounds the memory for paths, whose names come from outside.
const maxPaths = 1000

// report takes in how the request of a ticket ended. Trouble on the way says nothing
// about a path, and a refusal says nothing about one that has answered lately: that is
// the task's own. It returns true when the answer closed or opened the path.
func (ps *paths) report(path string, t ticket, task int64, err error, now time.Time) (turned bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	state := ps.byPath[path]
	if state == nil {
		if ps.byPath == nil || len(ps.byPath) >= maxPaths {
			ps.byPath = map[string]*pathState{}
		}
		state = &pathState{gate: gate{isTrouble: isPathTrouble}}
		ps.byPath[path] = state
	}
	switch {
	case isRefusal(err) && now.Sub(state.answered) < answeredLately, !isPathTrouble(err) && relayInTrouble(err):
		state.gate.cancel(t)
		return false
	case isPathTrouble(err):
		state.reason = outbound.LogLine(err.Error())
		return state.gate.report(t, task, err, now)
	}
	state.answered = now
	return state.gate.report(t, task, nil, now)
}

// closed lists the paths that are held back, with what they answer, sorted.
func (ps *paths) closed() []string {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var list []string
	for path, state := range ps.byPath {
		if state.gate.closed() {
			list = append(list, path+": "+state.reason)
		}
	}
	slices.Sort(list)
	return list
}

// logPath reports that a path is held back, or no longer.
func (r *relay) logPath(log *slog.Logger, path string, err error) {
	switch {
	case isMisconfigured(err):
		log.Error("the relay does not serve a path: its tasks are asked about rarely until it does; check the address and the path",
			"relay", r.Name, "path", path, "reason", outbound.LogLine(err.Error()))
	case isRefusal(err):
		log.Error("the relay refuses the key on a path, and takes it on others: its tasks are asked about rarely until it does; check what the key may be used for",
			"relay", r.Name, "path", path, "reason", outbound.LogLine(err.Error()))
	default:
		log.Info("the relay serves a path again", "relay", r.Name, "path", path)
	}
}
