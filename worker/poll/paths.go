package poll

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/outbound"
)

// paths hold the requests of a path back while the relay does not serve it: a wrong
// address, prefix or path is mended by a person, and the other paths go on.
type paths struct {
	mu     sync.Mutex
	byPath map[string]*pathState
}

// pathState is a path whose answers were not a relay's since its last good one.
type pathState struct {
	gate   gate
	reason string
}

// pathOf is the path of a task, without its id.
func pathOf(task db.PollTarget) string { return task.Action + "/" + task.Action2 }

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

// report takes in how the request of a ticket ended. Trouble on the way says nothing
// about a path. It returns true when that closed or opened the path.
func (ps *paths) report(path string, t ticket, task int64, err error, now time.Time) (turned bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	state := ps.byPath[path]
	switch {
	case isMisconfigured(err):
		if state == nil {
			if ps.byPath == nil {
				ps.byPath = map[string]*pathState{}
			}
			state = &pathState{gate: gate{isTrouble: isMisconfigured}}
			ps.byPath[path] = state
		}
		state.reason = outbound.LogLine(err.Error())
		return state.gate.report(t, task, err, now)
	case state == nil:
		return false
	case relayInTrouble(err):
		state.gate.cancel(t)
		return false
	}
	turned = state.gate.report(t, task, nil, now)
	delete(ps.byPath, path)
	return turned
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

// UnservedPaths lists the paths whose answers are not a relay's, with what they
// answer: the address, the prefix or the path is wrong.
func (l *Lane) UnservedPaths() []string { return l.paths.closed() }

// logPath reports that a path is held back, or no longer.
func (l *Lane) logPath(path string, err error) {
	if isMisconfigured(err) {
		l.Log.Error("the relay does not serve a path: its tasks are asked about rarely until it does; check KLING_BASE_URL, KLING_PATH_PREFIX and the path",
			"path", path, "reason", outbound.LogLine(err.Error()))
		return
	}
	l.Log.Info("the relay serves a path again", "path", path)
}
