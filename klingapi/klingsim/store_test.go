package klingsim

import (
	"strconv"
	"testing"
)

// It forgets only tasks that nobody has asked about for long.
func TestTheStoreIsBounded(t *testing.T) {
	t.Parallel()
	const limit = 100
	s := newStore(limit)
	s.ask(kinds[0], "left alone")
	for i := range 10 * limit {
		s.ask(kinds[0], strconv.Itoa(i))
		if i%10 == 0 {
			s.ask(kinds[0], "in use")
		}
		if n := len(s.young) + len(s.old); n > 2*limit {
			t.Fatalf("%d tasks", n)
		}
	}
	if n := s.asked("in use"); n != limit {
		t.Errorf("a task in use was asked %d times, want %d", n, limit)
	}
	if n := s.asked("left alone"); n != 0 {
		t.Errorf("a task left alone is still known, asked %d times", n)
	}
}
