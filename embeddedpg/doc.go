// Package embeddedpg starts a private, real PostgreSQL server for a program
// whose user has not given it a database.
//
//	server, err := embeddedpg.Start(ctx, embeddedpg.Config{DataDir: dir})
//	if err != nil { ... }
//	defer server.Close()
//	pool, err := pgxpool.New(ctx, server.URL())
//
// The server is an installed one, or one that is fetched once into a cache
// when none is installed. It listens on 127.0.0.1 only, asks for a random
// password, and keeps everything below one data directory:
//
//	data/           the database cluster
//	owner.lock      flock of the process whose child the server is
//	password, port  how the others reach it
//	postgres.log    what the server says
//
// # One server per data directory
//
// The first process takes the lock, starts the server as its child and is the
// owner. A later process finds the lock taken, waits until the server answers
// and is a user. When the owner ends, however it ends, the kernel frees the
// lock, and one of the users takes over: it waits until the old server is gone
// and starts it again on the same port with the same data, so that connection
// pools merely reconnect.
//
//	         lock is free                       lock is taken
//	Start ───────────────▶ owner          Start ─────────────▶ user
//	                         ▲  │                                │
//	      the server crashed │  │ Close, or the process dies     │
//	         start it again  └──┤                                │
//	                            ▼                                │
//	                     lock is free ◀── asks every 150 ms ─────┘
//	                            │
//	                            └──▶ a user becomes the owner
//
// No server outlives its owner: on Linux the kernel interrupts it when its
// parent dies; elsewhere the next owner finds it through postmaster.pid, makes
// sure that it is ours, and stops it.
//
// # Users of the operating system
//
// PostgreSQL refuses to run as root. A root process therefore gives the data
// directory to the user postgres, or else nobody, and runs the server as that
// user, who must be able to enter every directory above the data directory.
package embeddedpg
