package doctor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/readable"
)

const (
	// manyDead rows are worth a word when they outnumber half of the living ones:
	// autovacuum comes at a fifth, or a fiftieth for the queue.
	manyDead = 10_000
	// A snapshot keeps every row version that was replaced since. The queue
	// replaces some per task: minutes do not matter, an hour is felt.
	heldWarn = 5 * time.Minute
	heldBad  = time.Hour
	// heldTransactions stands in for the time where that is not known.
	heldTransactions = 1_000_000
	// Postgres stops when its disk is full; its log alone may take 1 GB at once.
	diskWarn = 2 << 30
	diskBad  = 256 << 20
	// The queue of notes is empty but for moments, unless a session that listens does not
	// read. It is 8 GB large.
	notesWarn = 0.05
	notesBad  = 0.5
)

func (x *examination) checkTables(ctx context.Context) (Finding, error) {
	tables, err := db.BusyTables(ctx, x.pool)
	if err == nil && len(tables) == 0 {
		return skipped("there are no tables yet; see migrations"), nil
	}
	return judgeTables(tables), err
}

// judgeTables finds tables that vacuum does not keep up with.
func judgeTables(tables []db.TableHealth) Finding {
	var all, bloated []string
	for _, t := range tables {
		all = append(all, fmt.Sprintf("%s %s, %d dead of %d rows, vacuumed %s", t.Name, readable.Bytes(t.Size), t.Dead, t.Dead+t.Live, agoOrNever(t.Vacuumed)))
		if t.Dead >= manyDead && t.Dead > t.Live/2 {
			bloated = append(bloated, t.Name)
		}
	}
	found := strings.Join(all, "; ")
	if len(bloated) > 0 {
		return warn("autovacuum should come within minutes; if it does not, see snapshots, or vacuum klingwatch."+strings.Join(bloated, ", klingwatch.")+" by hand", "%s", found)
	}
	return fine("%s", found)
}

func agoOrNever(d *time.Duration) string {
	if d == nil {
		return "never"
	}
	return readable.Duration(*d) + " ago"
}

func (x *examination) checkIndexes(ctx context.Context) (Finding, error) {
	invalid, err := db.InvalidIndexes(ctx, x.pool)
	return judgeIndexes(invalid), err
}

// judgeIndexes names the indexes that a build left which was cut off: every write keeps
// them up, and no query uses them. What a rebuild left beside the index itself is in the
// way of the next one, such as River's of its own once a day; the index itself is needed.
func judgeIndexes(invalid []string) Finding {
	if len(invalid) == 0 {
		return fine("all are valid")
	}
	mend := make([]string, len(invalid))
	for i, index := range invalid {
		how := "reindex"
		if besideIndex.MatchString(index) {
			how = "drop"
		}
		mend[i] = how + " index concurrently " + index
	}
	return warn("run: "+strings.Join(mend, "; "), "%d are invalid, left by a build that was cut off: %s", len(invalid), strings.Join(invalid, ", "))
}

// besideIndex matches the names that Postgres gives to the new and the old index while it
// rebuilds one.
var besideIndex = regexp.MustCompile(`_cc(new|old)[0-9]*"?$`)

func (x *examination) checkSnapshots(ctx context.Context) (Finding, error) {
	server, err := db.DescribeServer(ctx, x.pool)
	if err != nil {
		return Finding{}, err
	}
	snapshot, err := db.OldestSnapshot(ctx, x.pool)
	found := &snapshot
	if errors.Is(err, db.ErrNotFound) {
		found, err = nil, nil
	}
	return judgeSnapshot(found, server.SeesAll), err
}

// judgeSnapshot judges what holds vacuum back most; nil: nothing that is seen.
func judgeSnapshot(s *db.Snapshot, seesAll bool) Finding {
	const todo = "end it or find out why it stays open: meanwhile no dead row is removed"
	blind := ""
	if !seesAll {
		blind = "; other roles' sessions are not seen: grant pg_read_all_stats to this role"
	}
	switch {
	case s == nil:
		return fine("none holds vacuum back%s", blind)
	case s.Held == nil && s.Transactions > heldTransactions:
		return warn(todo, "%s holds vacuum back for %d transactions%s", s.Holder, s.Transactions, blind)
	case s.Held != nil && *s.Held > heldBad:
		return bad(todo, "%s holds vacuum back for %s%s", s.Holder, readable.Duration(*s.Held), blind)
	case s.Held != nil && *s.Held > heldWarn:
		return warn(todo, "%s holds vacuum back for %s%s", s.Holder, readable.Duration(*s.Held), blind)
	}
	return fine("none holds vacuum back for long%s", blind)
}

func (x *examination) checkNotes(ctx context.Context) (Finding, error) {
	used, err := db.NotesQueue(ctx, x.pool)
	return judgeNotes(used), err
}

// judgeNotes judges how full Postgres' queue of notes is.
func judgeNotes(used float64) Finding {
	const todo = "end the session that listens and keeps a transaction open, or does not read: Postgres' log names it; when the queue is full, no task can be inserted"
	switch found := fmt.Sprintf("%.0f %% of Postgres' queue of notes are used", used*100); {
	case used >= notesBad:
		return bad(todo, "%s", found)
	case used >= notesWarn:
		return warn(todo, "%s", found)
	default:
		return fine("%s", found)
	}
}

func (x *examination) checkDisk(ctx context.Context) (Finding, error) {
	server, err := db.DescribeServer(ctx, x.pool)
	if err != nil {
		return Finding{}, err
	}
	if x.DataDir == "" {
		return fine("the database %s takes %s; the space left on its server is not known here", server.Database, readable.Bytes(server.Size)), nil
	}
	free, known := archive.FreeSpace(x.DataDir)
	return judgeDisk(server.Size, free, known), nil
}

// judgeDisk judges the space left, in bytes, where the embedded database is.
func judgeDisk(size, free int64, known bool) Finding {
	const todo = "make room or move KLINGWATCH_DATA_DIR: Postgres stops when the disk is full"
	switch {
	case !known:
		return fine("the database takes %s; the space left is not known on this system", readable.Bytes(size))
	case free < diskBad:
		return bad(todo, "the database takes %s, only %s are left", readable.Bytes(size), readable.Bytes(free))
	case free < diskWarn:
		return warn(todo, "the database takes %s, %s are left", readable.Bytes(size), readable.Bytes(free))
	}
	return fine("the database takes %s, %s are left", readable.Bytes(size), readable.Bytes(free))
}
