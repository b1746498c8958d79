package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"github.com/klingwatch/klingwatch/db"
)

const (
	// clockStep is by how much clocks differ when something may wait too long.
	clockStep = time.Second
	// clockUnrest is for how long that may show after a clock has moved: what was being
	// written then.
	clockUnrest = time.Minute
)

// clocks compares the database's clock, by which jobs are due, with this process's, by
// which River puts them to sleep.
type clocks struct {
	mu     sync.Mutex
	read   time.Time     // the database's, when it was compared last
	at     time.Time     // this process's
	behind time.Duration // this process's is, by that much; 0: by less than clockStep
	unrest time.Time     // until then something may wait too long
}

// compare takes two readings and reports whether jobs may sleep for longer than they were
// meant to: lately the database's clock has gone back, this process's is ahead of it, or
// they have not been compared yet.
func (c *clocks) compare(read, at time.Time) (unrest bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := at.Sub(c.at) // by the monotonic clock, which nobody sets
	if c.at.IsZero() || read.Sub(c.read) < passed-clockStep {
		c.unrest = at.Add(clockUnrest)
	}
	c.read, c.at = read, at
	ahead := at.Round(0).Sub(read)
	c.behind = 0
	if -ahead > clockStep {
		c.behind = -ahead
	}
	return ahead > clockStep || at.Before(c.unrest)
}

// lag is how much this process's clock is behind the database's, as far as is known.
func (c *clocks) lag() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.behind
}

// snooze has a job brought back after a while. It notes for how long, since River keeps
// only the time when it is due, by this process's clock.
func (c *clocks) snooze(ctx context.Context, wait time.Duration) error {
	if err := river.MetadataSet(ctx, db.WaitKey, wait.Seconds()); err != nil {
		return fmt.Errorf("noting how long the job sleeps: %w", err)
	}
	return river.JobSnooze(c.forRiver(wait))
}

// forRiver is the wait by this process's clock after which it is due by the database's. A
// clock that is ahead can't be made up for: see db.ShortenWaits.
func (c *clocks) forRiver(wait time.Duration) time.Duration {
	if wait == 0 {
		return 0 // at once
	}
	return wait + c.lag()
}
