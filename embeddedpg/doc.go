// Package embeddedpg starts a private, real PostgreSQL server for a program
// whose user has not set up a database.
//
//	dir, err := embeddedpg.DefaultDataDir()
//	server, err := embeddedpg.Start(ctx, embeddedpg.Config{DataDir: dir})
//	defer server.Close()
//	pool, err := pgxpool.New(ctx, server.URL())
//
// Start looks for installed binaries in the PATH and where packagers put them;
// when there are none, it fetches them once into the user's cache directory. The
// server listens on 127.0.0.1 only, requires a random password, and keeps
// everything in one data directory:
//
//	data/           the database cluster
//	owner.lock      flock of the process that started the server
//	password, port  what other processes need to connect
//	postgres.log    the log of the server
//
// # One server per data directory
//
// The first process takes the lock, starts the server as its child and is the
// owner. A later process finds the lock taken, waits until the server answers
// and is a user. When the owner ends, for whatever reason, the kernel frees the
// lock, and one of the users takes over: it waits until the old server is gone
// and starts it again on the same port with the same data, so that connection
// pools only have to reconnect.
//
//	         lock is free                       lock is taken
//	Start ───────────────▶ owner          Start ─────────────▶ user
//	                         ▲  │                                │
//	      the server crashed │  │ Close, or the process dies     │
//	         start it again  └──┤                                │
//	                            ▼                                │
//	                     lock is free ◀── tries every 150 ms ────┘
//	                            │
//	                            └──▶ a user becomes the owner
//
// Find is for a process that only wants to use a server while there is one: it starts
// none and takes none over.
//
// No server outlives its owner: on Linux the kernel interrupts it when its
// parent dies; on other systems the next owner finds it through postmaster.pid,
// makes sure that it serves this data directory, and stops it.
//
// # Users of the operating system
//
// PostgreSQL refuses to run as root. A root process therefore gives the data
// directory to the user postgres, or else nobody, and runs the server as that
// user, who must be able to enter every directory above the data directory.
package embeddedpg
