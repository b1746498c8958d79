package klingsim

import (
	"strings"
	"sync"
)

// generation is how many tasks one generation of the store holds: twice the 50,000 that klingwatch is built for. At
// about 200 bytes each, the store stays below 40 MB.
const generation = 100_000

// maxID is the longest id in bytes that is remembered; longer ones are unknown to the relay.
const maxID = 256

// task is what is remembered of one task. Behaviour, lifetime and result are computed anew from its id.
type task struct {
	id        string // ours
	external  string // external_task_id given at creation, may be empty
	first     int64  // first sight, unix ms
	begun     bool   // first is set
	asked     int32  // GETs that named it
	answered  int32  // those that reached it
	successes int32  // answers that said it has succeeded
}

type taskKey struct {
	kind *kind // the same id on another path is another task
	id   string
}

// store remembers tasks in two generations: when the young one is full it becomes the old one, and the old one is
// forgotten. A task that is asked about moves to the young one, so only tasks that were left alone while 100,000 others
// were asked about begin anew.
type store struct {
	mu    sync.Mutex
	young map[taskKey]*task
	old   map[taskKey]*task
	limit int // of one generation
}

func newStore(limit int) store {
	return store{young: make(map[taskKey]*task), limit: limit}
}

// ask counts a GET of a task and returns what is known of it, or nil for an id too long to be one.
func (s *store) ask(k *kind, id string) *task {
	if len(id) > maxID {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := taskKey{k, id}
	t := s.find(key)
	if t == nil {
		key.id = strings.Clone(id) // a substring would keep the whole URL
		t = &task{id: key.id}
		s.keep(key, t)
	}
	t.asked++
	return t
}

// reach notes that a query arrived at its task, which begins the task if it is the first. It returns a copy.
func (s *store) reach(t *task, now int64) task {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.begun {
		t.begun, t.first = true, now
	}
	t.answered++
	return *t
}

// succeed counts an answer of success and returns its number, from 1.
func (s *store) succeed(t *task) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.successes++
	return int(t.successes)
}

// create remembers a new task under its id and, if there is one, its external id.
func (s *store) create(k *kind, t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(taskKey{k, t.id}, t)
	if t.external != "" {
		s.keep(taskKey{k, t.external}, t)
	}
}

// asked adds up the GETs of an id over all paths.
func (s *store) asked(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for _, k := range kinds {
		key := taskKey{k, id}
		if t := s.young[key]; t != nil {
			sum += int(t.asked)
		} else if t := s.old[key]; t != nil {
			sum += int(t.asked)
		}
	}
	return sum
}

// find returns a task and makes it young.
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
