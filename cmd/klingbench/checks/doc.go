// Package checks compares quick measurements with stored ones, so that a change that makes
// klingwatch slower is noticed before a long run on a quiet machine.
//
//	watched -> measure, again where a figure is worse -> compare with ratios.json -> table, exit code
//
// It looks only at what says something in a short run on a machine that others use, too:
// ratios of CPU times within one run, bytes of write-ahead log, and counts. Times,
// throughputs and their ratios need a quiet machine and long runs.
package checks
