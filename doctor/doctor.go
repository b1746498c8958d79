package doctor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/klingapi"
)

// Config is what the checks need to know.
type Config struct {
	// Database returns the URL of the database. ErrNoDatabase: there is none.
	Database func(context.Context) (url string, err error)
	DataDir  string // where an embedded database keeps its data; "": it is on a server

	BaseURL  string           // of the relay; "": not set
	TaskPath string           // of the relay
	Relay    *klingapi.Client // asks with the key; nil: RelayErr says why there is none
	RelayErr error
	Keyring  *keyring.Keyring // opens the stored signing keys; nil: they are not encrypted

	Store     archive.Store // of kept files; nil: files are not kept
	StoreErr  error         // why it could not be opened
	FilmTools string        // version of ffmpeg; "": it is not installed

	PollInterval time.Duration
	PollRate     float64       // polls per second
	PollTimeout  time.Duration // of one request to the relay
	TaskDeadline time.Duration // of tasks that have none of their own

	Limits       db.FigureLimits // by which the metrics count, too
	ProcessConns int             // connections that one process takes at most
	Version      string          // of this klingwatch
	UserAgent    string          // of requests to the relay
}

// ErrNoDatabase is the error of Config.Database where no database is configured
// and no embedded one runs.
var ErrNoDatabase = errors.New("DATABASE_URL is not set, and no embedded database runs")

const (
	// checkLimit bounds one check of the database; they run at the same time.
	checkLimit = 5 * time.Second
	// connectLimit bounds connecting to it.
	connectLimit = 10 * time.Second
	// conns are so many that checks which wait for a lock do not keep the others.
	conns = 8
)

// examination is what the checks work with.
type examination struct {
	Config
	connect func() (took time.Duration, err error) // once; then there is a pool
	pool    *pgxpool.Pool                          // read-only
	reach   func() reached                         // once
}

// check is one question. Those about the database are skipped when there is none.
type check struct {
	name     string
	database bool
	ask      func(context.Context) (Finding, error) // an error: it could not be asked
}

// checks are all questions, in the order in which they are reported.
func (x *examination) checks() []check {
	return []check{
		{"database", false, x.checkDatabase},
		{"postgres", true, x.checkServer},
		{"clock-database", true, x.checkDatabaseClock},
		{"connections", true, x.checkConnections},
		{"migrations", true, x.checkMigrations},
		{"roles", true, x.checkRoles},
		{"relay", false, x.checkRelay},
		{"clock-relay", false, x.checkRelayClock},
		{"key", false, x.checkKey},
		{"relays", true, x.checkRelays},
		{"services", true, x.checkServices},
		{"locks", true, x.checkLocks},
		{"polling", true, x.checkPolling},
		{"rate", true, x.checkRate},
		{"tasks", true, x.checkTasks},
		{"deliveries", true, x.checkDeliveries},
		{"jobs", true, x.checkJobs},
		{"endpoints", true, x.checkEndpoints},
		{"outputs", true, x.checkOutputs},
		{"archive", false, x.checkArchive},
		{"films", false, x.checkFilms},
		{"signing-keys", true, x.checkSigningKeys},
		{"bloat", true, x.checkTables},
		{"indexes", true, x.checkIndexes},
		{"snapshots", true, x.checkSnapshots},
		{"notes", true, x.checkNotes},
		{"disk", true, x.checkDisk},
	}
}

// Examine makes all checks at the same time and reports them in their order. It
// returns an error only when ctx ends.
func Examine(ctx context.Context, cfg Config, report func(Finding)) error {
	x := &examination{Config: cfg}
	x.connect = sync.OnceValues(func() (time.Duration, error) { return x.open(ctx) })
	x.reach = sync.OnceValue(func() reached { return x.reachRelay(ctx) })
	defer x.close()
	var results []chan Finding
	for _, c := range x.checks() {
		result := make(chan Finding, 1)
		results = append(results, result)
		go func() { result <- x.examine(ctx, c) }()
	}
	for _, result := range results {
		found := <-result
		if ctx.Err() == nil {
			report(found)
		}
	}
	return ctx.Err()
}

// open connects to the database. The server lets the pool write nothing.
func (x *examination) open(ctx context.Context) (took time.Duration, err error) {
	url, err := x.Database(ctx)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	begun := time.Now()
	x.pool, err = db.OpenReadOnly(ctx, url, conns, checkLimit)
	return time.Since(begun), err
}

// close lets go of the database.
func (x *examination) close() {
	if x.pool != nil {
		x.pool.Close()
	}
}

// examine makes one check.
func (x *examination) examine(ctx context.Context, c check) Finding {
	if c.database {
		if _, err := x.connect(); err != nil {
			return skipped("there is no database to ask; see database").named(c.name)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, checkLimit)
		defer cancel()
	}
	found, err := c.ask(ctx)
	if err != nil {
		if found = failed(err); denied(err) && x.mayLook(ctx) {
			found = skipped(outOfSight)
		}
	}
	return found.named(c.name)
}

// mayLook reports whether the role is one that looks: then what it may not see is hidden
// on purpose.
func (x *examination) mayLook(ctx context.Context) bool {
	err := db.Ping(ctx, x.pool)
	return err == nil || errors.Is(err, db.ErrReadOnly)
}

// milliseconds writes how long something took.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// Checks are the names of all checks, in the order in which they are reported.
func Checks() (names []string) {
	for _, c := range (&examination{}).checks() {
		names = append(names, c.name)
	}
	return names
}
