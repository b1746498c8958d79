// Package klingsim simulates the relay in front of Kling as an http.Handler, for tests and for trying klingwatch out.
//
// It answers GET {prefix}/{action}/{action2}/{task_id} for every documented action and action2, and serves the files
// behind the output URLs:
//
//	relay := klingsim.New(klingsim.Config{Seed: 7, FaultRate: 0.05})
//	server := httptest.NewServer(relay)
//	// GET {server.URL}/kling/v1/videos/text2video/fail-newapi-0042
//
// A task need not be created: it begins with the first request about it (or with a POST, as at the real relay).
//
//	           0.15 of its life          its life
//	submitted ----------------> processing ------> succeed | failed | canceled
//
// The words at the start of the task id, separated by "-", choose what happens to the task, up to the first segment that
// is not in the Vocabulary: "fail-newapi-0042" fails, in the envelope of new-api. A task without such words succeeds.
// Words are in groups, and the last word of a group counts.
//
// Config.Dialect chooses what kind of relay it is: as Kling's old API (Kling, the default), new-api (NewAPI), Kling's new
// family (V3) or a relay that sends one URL (Flat). It decides on paths, records and errors; words work in every dialect.
// V3 answers lists of tasks as well, each record as its id says:
//
//	// GET {server.URL}/tasks?task_ids=ok-1,fail-2,unknown-3
//
// With Config.CallbackURL, or callback_url in the POST of a task, every change of its status is posted there as Kling does it;
// of tasks without a word for that, a few come twice, late or early where there is a FaultRate.
//
// Everything follows from the seed, the task id and the number of the query, never from the order of goroutines: two
// relays with the same seed answer the same sequence of queries in the same way. Small random faults delay the outcome of
// a task, but never change it.
package klingsim
