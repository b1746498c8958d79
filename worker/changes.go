package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/worker/poll"
)

const (
	// changesLook is the least time between two looks at rows that are said to be
	// changed: anybody may say so, as often as they like.
	changesLook = 200 * time.Millisecond
	// changesLimit bounds one look.
	changesLimit = 5 * time.Second
)

// changes are tasks of this process that somebody says were changed. Notes come from any
// session of the database: only what the row says counts.
type changes struct {
	mu   sync.Mutex
	said map[int64]bool
	more chan struct{}
}

func newChanges() *changes {
	return &changes{said: map[int64]bool{}, more: make(chan struct{}, 1)}
}

// say has the row of a task looked at soon.
func (c *changes) say(task int64) {
	c.mu.Lock()
	c.said[task] = true
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *changes) take() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := slices.Collect(maps.Keys(c.said))
	clear(c.said)
	return taken
}

// follow sends the tasks back to be read again whose rows have changed, until ctx ends.
// What a look that fails misses is noticed when the row is read in its turn.
func (c *changes) follow(ctx context.Context, pool db.Querier, asked *poll.Relays) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.more:
		}
		tasks := c.take()
		limited, cancel := context.WithTimeout(ctx, changesLimit)
		versions, err := db.VersionsOf(limited, pool, tasks)
		cancel()
		if err == nil {
			for _, task := range tasks {
				asked.Reread(task, versions[task])
			}
		}
		sleep(ctx, changesLook)
	}
}
