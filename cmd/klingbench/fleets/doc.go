// Package fleets measures many processes on one database, and many tasks in flight:
//
//	saturated  throughput of 1, 2 and 4 processes, with the same tasks on the same cores
//	shared     lateness and shares below saturation
//	bound      whether all together keep a rate that is too low for the tasks
//	change     one process is killed, another one joins
//	disk       what a million tasks take
//	many       hundreds of thousands of tasks in flight
package fleets
