// Package capacities computes how far one Postgres goes: from what was measured once of a
// poll, a task and a stay, and from a simulation of single tasks by the rules of the poller.
//
//	simulate one kind of tasks -> life: polls and stays of a task
//	life, costs, machine       -> the tasks in flight at which each thing runs out
package capacities
