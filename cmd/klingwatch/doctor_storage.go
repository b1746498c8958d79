package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
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
)

func (d *doctor) checkTables(ctx context.Context) (finding, error) {
	tables, err := db.BusyTables(ctx, d.db)
	if err == nil && len(tables) == 0 {
		return skipped("there are no tables yet; see migrations"), nil
	}
	return judgeTables(tables), err
}

// judgeTables finds tables that vacuum does not keep up with.
func judgeTables(tables []db.TableHealth) finding {
	var all, bloated []string
	for _, t := range tables {
		all = append(all, fmt.Sprintf("%s %s, %d dead of %d rows, vacuumed %s", t.Name, humanBytes(t.Size), t.Dead, t.Dead+t.Live, agoOrNever(t.Vacuumed)))
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
	return short(*d) + " ago"
}

func (d *doctor) checkSnapshots(ctx context.Context) (finding, error) {
	server, err := db.DescribeServer(ctx, d.db)
	if err != nil {
		return finding{}, err
	}
	snapshot, err := db.OldestSnapshot(ctx, d.db)
	found := &snapshot
	if errors.Is(err, db.ErrNotFound) {
		found, err = nil, nil
	}
	return judgeSnapshot(found, server.SeesAll), err
}

// judgeSnapshot judges what holds vacuum back most; nil: nothing that is seen.
func judgeSnapshot(s *db.Snapshot, seesAll bool) finding {
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
		return bad(todo, "%s holds vacuum back for %s%s", s.Holder, short(*s.Held), blind)
	case s.Held != nil && *s.Held > heldWarn:
		return warn(todo, "%s holds vacuum back for %s%s", s.Holder, short(*s.Held), blind)
	}
	return fine("none holds vacuum back for long%s", blind)
}

func (d *doctor) checkDisk(ctx context.Context) (finding, error) {
	server, err := db.DescribeServer(ctx, d.db)
	if err != nil {
		return finding{}, err
	}
	if d.db.embedded == nil {
		return fine("the database %s takes %s; the space left on its server is not known here", server.Database, humanBytes(server.Size)), nil
	}
	dir, err := d.dataDir()
	if err != nil {
		return finding{}, err
	}
	free, known := freeSpace(dir)
	return judgeDisk(server.Size, free, known), nil
}

// judgeDisk judges the space left, in bytes, where the embedded database is.
func judgeDisk(size, free int64, known bool) finding {
	const todo = "make room or move KLINGWATCH_DATA_DIR: Postgres stops when the disk is full"
	switch {
	case !known:
		return fine("the database takes %s; the space left is not known on this system", humanBytes(size))
	case free < diskBad:
		return bad(todo, "the database takes %s, only %s are left", humanBytes(size), humanBytes(free))
	case free < diskWarn:
		return warn(todo, "the database takes %s, %s are left", humanBytes(size), humanBytes(free))
	}
	return fine("the database takes %s, %s are left", humanBytes(size), humanBytes(free))
}

// humanBytes shows a size for people.
func humanBytes(n int64) string {
	const kilo = 1024
	switch {
	case n < kilo*kilo:
		return fmt.Sprintf("%d kB", (n+kilo-1)/kilo)
	case n < kilo*kilo*kilo:
		return fmt.Sprintf("%d MB", n/(kilo*kilo))
	}
	return fmt.Sprintf("%.1f GB", float64(n)/(kilo*kilo*kilo))
}
