// Package completions ends tasks at a steady rate, as a worker ends them, and knows when
// each was committed: what follows from a commit is measured from there.
//
//	Prepare -> Run -> Events
package completions
