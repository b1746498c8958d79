// Package lookback reads pages of a long list, newest first, in a bounded time whatever is
// chosen from it. It looks at the newest ids, then lets an index find the rest where one
// can, else it goes back in windows until its time is over, and tells how far it came.
package lookback
