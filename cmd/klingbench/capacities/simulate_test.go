package capacities

import (
	"math"
	"testing"
	"time"
)

func TestATaskThatIsPolledOftenStaysForFiveMinutes(t *testing.T) {
	t.Parallel()
	l := kind{interval: 5 * time.Second, median: 10 * time.Minute}.simulate(2000)
	if math.Abs(l.polls-l.duration/5-1) > 0.02*l.polls {
		t.Errorf("%.1f polls in %.0f s", l.polls, l.duration)
	}
	if l.stays < 2 || l.stays > 4 || l.resident < 0.95*l.duration {
		t.Errorf("%.1f stays, %.0f of %.0f s in memory", l.stays, l.resident, l.duration)
	}
}

func TestATaskThatIsPolledSeldomSleepsBetweenItsPolls(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{
		{interval: 5 * time.Minute, median: time.Hour},
		{interval: 10 * time.Second, median: 10 * time.Minute, crowded: true},
	} {
		if l := k.simulate(2000); l.stays != l.polls || l.resident != 0 {
			t.Errorf("every %s: %.1f polls in %.1f stays, %.0f s in memory", k.interval, l.polls, l.stays, l.resident)
		}
	}
}

func TestTheFirstLimitIsTheLowest(t *testing.T) {
	t.Parallel()
	l := life{duration: 100, polls: 21, stays: 1, resident: 100}
	c := costs{postgresPerTask: 200e-6, clientPerPoll: 70e-6, clientPerAnswer: 10e-6, walPerTask: 5000, memoryPerTask: 1 << 14, slots: 80_000}
	m := machine{postgresCores: 2, busyPart: 0.7, processes: 2, clientCores: 1, memory: 1 << 32, wal: 20e6, rate: 1000, batch: 1}
	if got := first(limits(l, c, m)); got.of != rate || math.Abs(got.tasks-1000*100/21.) > 1 {
		t.Errorf("the limit is %+v", got)
	}
	m.rate = math.Inf(1)
	if got := first(limits(l, c, m)); got.of != clientCPU || math.Abs(got.tasks-1.4/(21*80e-6/100)) > 1 {
		t.Errorf("without a rate the limit is %+v", got)
	}
}
