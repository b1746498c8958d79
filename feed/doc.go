// Package feed tells events as they come, in the exact order of their ids, to many at
// once: it reads each event once, encodes it once, and holds no connection for those who
// wait.
//
//	f := feed.New(pool, m, log)
//	go f.Run(ctx) // the tail; while nobody listens it asks the database nothing
//
//	stream, err := f.Follow(ctx, after, db.FeedFilter{App: "shop"}) // a *CursorError where events after it are gone
//	defer stream.Close()
//	for {
//		frames, err := stream.Next(ctx, 15*time.Second) // none: nothing came in that time
//		...
//	}
//
//	err := f.Await(ctx, task, ended) // asks again whenever an event of the task has come
//	f.Close()                        // ends all streams and waits, before the server stops
//
// A stream misses nothing between what is kept and what comes: it reads up to the end,
// begins to listen, and reads the rest:
//
//	replay ──▶ listen ──▶ replay what came meanwhile ──▶ live
//	   ▲                            │
//	   └──── more at once than is held for it ───────────────┘
//
// A client that takes nothing meanwhile is sent away, and comes back with its cursor.
//
//	feed.go    who listens
//	tail.go    reads what is new, wherever the database goes
//	stream.go  one client's way through the feed
//	frame.go   an event as it is sent
package feed
