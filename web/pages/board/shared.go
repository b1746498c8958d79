package board

import (
	"context"
	"math"
	"sync"
	"time"
)

// forever is an age that nothing reaches.
const forever = time.Duration(math.MaxInt64)

// shared is a value that is computed once for all who ask at the same time. What could not
// be computed keeps the value before.
type shared[T any] struct {
	compute func(context.Context) (T, error)
	limit   time.Duration // of one computation

	mu      sync.Mutex
	value   T
	begun   time.Time     // when the computation of value began; zero: there is none yet
	running chan struct{} // closed when the computation under way has ended; nil: there is none
	err     error         // of the last computation
	wanted  time.Time     // what is shown must be computed after that
}

// get returns the value. Where it is older than fresh it is computed, and waited for as
// long as patience lasts; then the older value will do. known is false where there is none;
// err is why the last computation failed.
func (s *shared[T]) get(ctx context.Context, fresh, patience time.Duration) (value T, begun time.Time, known bool, err error) {
	if running := s.begin(fresh); running != nil && patience > 0 {
		select {
		case <-running:
		case <-ctx.Done():
		case <-time.After(patience):
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err = s.err; err == nil && s.begun.IsZero() {
		err = context.DeadlineExceeded
	}
	return s.value, s.begun, !s.begun.IsZero(), err
}

// begin computes the value where it is older than fresh, unless that is under way already.
func (s *shared[T]) begin(fresh time.Duration) (running chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil || !s.begun.IsZero() && time.Since(s.begun) <= fresh {
		return s.running
	}
	s.running = make(chan struct{})
	go s.run(s.running)
	return s.running
}

// run outlives who has asked: the others need the value as well.
func (s *shared[T]) run(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), s.limit)
	defer cancel()
	begun := time.Now()
	value, err := s.compute(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err = err; err == nil {
		s.value, s.begun = value, begun
	}
	s.running = nil
	close(done)
}

// age is how old the value is; forever where there is none.
func (s *shared[T]) age() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun.IsZero() {
		return forever
	}
	return time.Since(s.begun)
}

// want says that the value must be computed after a moment.
func (s *shared[T]) want(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.wanted) {
		s.wanted = at
	}
}

// isWanted tells whether it was not computed since.
func (s *shared[T]) isWanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.begun.After(s.wanted)
}

// computes tells whether it is computed now.
func (s *shared[T]) computes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running != nil
}
