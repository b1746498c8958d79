// Package klingsim is the relay in front of Kling, as an http.Handler: what klingwatch polls when no real relay is at hand.
//
// It answers GET {prefix}/{action}/{action2}/{task_id} for every documented action and action2, and serves the files
// behind the output URLs, so that a caller can go the whole way:
//
//	relay := klingsim.New(klingsim.Config{Seed: 7, FaultRate: 0.05})
//	server := httptest.NewServer(relay)
//	// GET {server.URL}/kling/v1/videos/text2video/fail-newapi-0042
//
// Tasks need no creation: a task begins when it is first asked about (or by a POST, as at the real relay).
//
//	           0.15 of its life          its life
//	submitted ----------------> processing ------> succeed | failed | canceled
//
// The task id decides how it goes: the words at its start, separated by "-", up to the first segment that is no word
// of the Vocabulary. "fail-newapi-0042" fails, in the envelope of new-api. An id without such words succeeds. The
// vocabulary is closed, has groups, and the last word of a group wins.
//
// Everything follows from the seed, the task id and the number of the query, never from goroutine order: two relays with
// one seed answer the same sequence of queries alike. Random small faults delay a task's outcome, they never change it.
package klingsim
