package standin

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// windowStep is the resolution at which windows of one second are compared.
	windowStep = 100 * time.Millisecond
	// windowSteps limits a measurement to an hour.
	windowSteps = int(time.Hour / windowStep)
)

// relayState is what the relay has seen under one plan.
type relayState struct {
	plan  RelayPlan
	begun time.Time
	tasks []relayTask // by number, from 1

	polls, http2, told, asked, ended, since atomic.Int64

	mark    atomic.Int64 // unix nanoseconds
	windows [windowSteps]atomic.Int32

	mu  sync.Mutex
	log []Arrival
}

// relayTask counts the polls of a task; the rest is in unix nanoseconds, 0: not yet.
type relayTask struct{ polls, first, last, ended, hook atomic.Int64 }

func newRelayState(plan RelayPlan) *relayState {
	return &relayState{plan: plan, begun: time.Now(), tasks: make([]relayTask, plan.Tasks+1)}
}

// find returns a task by the digits of its number, nil if the plan has none.
func (s *relayState) find(digits string) (number int, task *relayTask) {
	number, err := strconv.Atoi(digits)
	if err != nil || number < 1 || number >= len(s.tasks) {
		return 0, nil
	}
	return number, &s.tasks[number]
}

// countRequest notes one request.
func (s *relayState) countRequest(now time.Time, http2 bool) {
	if http2 { // before polls: whoever reads both sees no more of those
		s.http2.Add(1)
	}
	s.polls.Add(1)
	if step := int(now.Sub(s.begun) / windowStep); step >= 0 && step < windowSteps {
		s.windows[step].Add(1)
	}
}

// count notes that one task was asked about, and reports whether it ends with the reply.
func (s *relayState) count(number int, task *relayTask, now time.Time) (last bool) {
	at := now.UnixNano()
	s.told.Add(1)
	if task.first.CompareAndSwap(0, at) {
		s.asked.Add(1)
	}
	if mark := s.mark.Load(); mark > 0 && task.last.Swap(at) < mark {
		s.since.Add(1)
	}
	if s.plan.Log {
		s.mu.Lock()
		s.log = append(s.log, Arrival{int32(number), at})
		s.mu.Unlock()
	}
	polls := task.polls.Add(1)
	return s.plan.Polls != Never && polls >= int64(s.plan.Polls)
}

// end notes that the last reply was sent.
func (s *relayState) end(task *relayTask) {
	if task.ended.CompareAndSwap(0, time.Now().UnixNano()) {
		s.ended.Add(1)
	}
}

func (s *relayState) setMark() {
	s.mark.Store(time.Now().UnixNano())
	s.since.Store(0)
}

func (s *relayState) counts() RelayCounts {
	return RelayCounts{
		Polls: s.polls.Load(), HTTP2: s.http2.Load(), Told: s.told.Load(), Asked: s.asked.Load(), Ended: s.ended.Load(), Since: s.since.Load(), Peak: s.peak(),
	}
}

// peak returns the most requests in any ten steps in a row.
func (s *relayState) peak() int64 {
	const second = int(time.Second / windowStep)
	var sum, most int64
	until := min(int(time.Since(s.begun)/windowStep)+1, windowSteps)
	for i := range until {
		sum += int64(s.windows[i].Load())
		if i >= second {
			sum -= int64(s.windows[i-second].Load())
		}
		most = max(most, sum)
	}
	return most
}

func (s *relayState) arrivals() []Arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

func (s *relayState) moments() []Moments {
	list := make([]Moments, len(s.tasks))
	for i := range s.tasks {
		t := &s.tasks[i]
		list[i] = Moments{t.first.Load(), t.ended.Load(), t.hook.Load()}
	}
	return list
}
