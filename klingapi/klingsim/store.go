package klingsim

import (
	"strings"
	"sync"
)

// generation is the size of one generation of the store: twice the 50,000 tasks that klingwatch is built for. At about
// 200 bytes each, the store stays below 40 MB.
const generation = 100_000

// maxID is the length of the longest id in bytes; longer ones are unknown.
const maxID = 256

// task is what the store keeps of one task. Behaviour, lifetime and result are computed from its id.
type task struct {
	id        string // ours
	kind      *kind  // what it makes
	external  string // external_task_id given at creation, may be empty
	first     int64  // time of the first query, unix ms
	begun     bool   // first is set
	announced bool   // its callbacks are under way
	asked     int32  // GETs of its id
	answered  int32  // those without an outage or refusal
	successes int32  // answers that said it has succeeded
}

type taskKey struct {
	kind *kind // an id on another path is another task; nil at relays that find it on every path
	id   string
}

// store keeps tasks in two generations: when the young one is full, it replaces the old one. A request moves its task to
// the young one, so that only tasks without a request during 100,000 others are forgotten, and begin again.
type store struct {
	mu    sync.Mutex
	young map[taskKey]*task
	old   map[taskKey]*task
	limit int // of one generation

	shared bool // a task is found on every path
}

func newStore(limit int) store {
	return store{young: make(map[taskKey]*task), limit: limit}
}

// ask counts a GET of a task and returns the task, or nil for an id that is too long.
func (s *store) ask(k *kind, id string) *task {
	if len(id) > maxID {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.find(s.key(k, id))
	if t == nil {
		t = &task{id: strings.Clone(id), kind: k} // a substring would keep the whole URL
		s.keep(s.key(k, t.id), t)
	}
	t.asked++
	return t
}

// askExternal counts a GET of a task by the id that its caller gave it. A new one gets this id of ours.
func (s *store) askExternal(k *kind, external, id string) *task {
	if len(external) > maxID/2 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.find(s.key(k, external))
	if t == nil {
		t = &task{id: id, kind: k, external: strings.Clone(external)}
		s.keep(s.key(k, id), t)
		s.keep(s.key(k, t.external), t)
	}
	t.asked++
	return t
}

func (s *store) key(k *kind, id string) taskKey {
	if s.shared {
		k = nil
	}
	return taskKey{k, id}
}

// answer counts an answer about a task, the first of which begins it. It returns a copy.
func (s *store) answer(t *task, now int64) task {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.begun {
		t.begun, t.first = true, now
	}
	t.answered++
	return *t
}

// announce reports whether the callbacks of a task have not been begun yet.
func (s *store) announce(t *task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := !t.announced
	t.announced = true
	return news
}

// succeed counts an answer that says succeeded, and returns its number, from 1.
func (s *store) succeed(t *task) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.successes++
	return int(t.successes)
}

// create keeps a new task under its id and, if it has one, its external id.
func (s *store) create(k *kind, t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.kind = k
	s.keep(s.key(k, t.id), t)
	if t.external != "" {
		s.keep(s.key(k, t.external), t)
	}
}

// asked returns the number of GETs of an id on all paths.
func (s *store) asked(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	paths := kinds
	if s.shared {
		paths = kinds[:1]
	}
	for _, k := range paths {
		key := s.key(k, id)
		if t := s.young[key]; t != nil {
			sum += int(t.asked)
		} else if t := s.old[key]; t != nil {
			sum += int(t.asked)
		}
	}
	return sum
}

// find returns a task and moves it to the young generation.
func (s *store) find(key taskKey) *task {
	if t := s.young[key]; t != nil {
		return t
	}
	t := s.old[key]
	if t != nil {
		delete(s.old, key)
		s.keep(key, t)
	}
	return t
}

func (s *store) keep(key taskKey, t *task) {
	if len(s.young) >= s.limit {
		s.old = s.young
		s.young = make(map[taskKey]*task)
	}
	s.young[key] = t
}
