package deliver

import (
	"sync"
	"time"
)

// clockMove is by how much the database's clock runs apart from ours when it has moved:
// readings are late by the time that a query takes.
const clockMove = time.Minute

// clockWatch notices that the database's clock moves. How long a delivery has been held
// back is told by that clock: one that stands an hour ahead for a moment must use up no
// step of a schedule.
type clockWatch struct {
	mu       sync.Mutex
	read, at time.Time // the last reading, and when it was taken, by the monotonic clock
	moved    time.Time // zero: it has not
}

// note takes in a reading.
func (c *clockWatch) note(read, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && (read.Sub(c.read)-at.Sub(c.at)).Abs() > clockMove {
		c.moved = at
	}
	c.read, c.at = read, at
}

// hasMoved reports whether it has moved within the last holdStep. Until that is over, what
// was held back before seems to be held for longer or shorter than it is.
func (c *clockWatch) hasMoved(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.moved.IsZero() && now.Sub(c.moved) < holdStep
}
