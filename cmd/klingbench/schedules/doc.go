// Package schedules measures by simulation what the learned schedule gains over
// the fixed interval: how soon the end of a task is seen, with as many polls.
package schedules
