package worker

import "time"

// clockStep is by how much clocks differ when something may wait too long.
const clockStep = time.Second

// clocks compares the database's clock with this process's, which schedules the jobs that
// it puts to sleep.
type clocks struct {
	read time.Time // the database's, when it was compared last
	at   time.Time // this process's
}

// moved reports whether jobs may sleep for longer than they were meant to: the database's
// clock has gone back since it was compared last, this process's is ahead of it, or they
// have not been compared yet.
func (c *clocks) moved(read, at time.Time) bool {
	passed := at.Sub(c.at) // by the monotonic clock, which nobody sets
	first, back := c.at.IsZero(), read.Sub(c.read) < passed-clockStep
	c.read, c.at = read, at
	return first || back || at.Round(0).Sub(read) > clockStep
}
