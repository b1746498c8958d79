package poll

import (
	"testing"
	"testing/synctest"
	"time"
)

// A process says which part of the rate it needs: what it sends, and what is overdue.
func TestAProcessNeedsWhatItSendsAndWhatIsOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tasks, rate = 500, 1000
		b := newBench(t, 5*time.Second, rate, 10*time.Millisecond) // they want a tenth of the rate
		b.Needs(0)
		for id := range int64(tasks) {
			b.Watch(processing(id), Memory{})
		}
		time.Sleep(20 * time.Second)
		b.Needs(0)
		time.Sleep(10 * time.Second)
		if needs := b.Needs(10 * time.Second); needs < 0.08 || needs > 0.12 {
			t.Errorf("it needs %.3f of the rate, a tenth was wanted", needs)
		}
		b.SetShare(0.001, 2) // one request per second: the tasks fall behind
		time.Sleep(20 * time.Second)
		b.Needs(0)
		time.Sleep(time.Second)
		if needs := b.Needs(time.Second); needs < 0.4 || needs > 0.51 {
			t.Errorf("it needs %.3f of the rate while its tasks are overdue, half was wanted", needs)
		}
		b.stop()
	})
}
