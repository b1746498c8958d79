package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestAnOpenTransactionHoldsVacuumBack(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	if _, err := db.OldestSnapshot(t.Context(), pool); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("with nobody else: %v", err)
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), `select pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	s, err := db.OldestSnapshot(t.Context(), pool)
	if err != nil || s.Held == nil || !strings.Contains(s.Holder, "klingwatch (klingwatch), idle in transaction") {
		t.Errorf("%+v, %v", s, err)
	}
}

// The disk is asked where the database is on this machine.
func TestTheDiskOfAnEmbeddedDatabase(t *testing.T) {
	t.Parallel()
	cfg := deployment(t, dbtest.New(t), "")
	wantFinding(t, findings(t, cfg), "disk", OK, "the space left on its server is not known here")
	cfg.DataDir = t.TempDir()
	if f := findings(t, cfg)["disk"]; !strings.HasSuffix(f.Found, " are left") {
		t.Errorf("%+v", f)
	}
	cfg.DataDir += "/missing"
	wantFinding(t, findings(t, cfg), "disk", OK, "not known on this system")
}

// An index that is rebuilt concurrently and cut off stays behind, invalid.
func TestIndexesThatWereLeftInvalidAreNamed(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	prepare(t, pool, `insert into klingwatch.river_job (kind, args, max_attempts) values ('same', '{}', 1), ('same', '{}', 1)`)
	if _, err := pool.Exec(t.Context(), `create unique index concurrently "river_job_pkey_ccnew" on klingwatch.river_job (kind)`); err == nil {
		t.Fatal("a unique index was built over equal values")
	}
	found := findings(t, deployment(t, pool, ""))
	wantFinding(t, found, "indexes", Warn, "1 are invalid, left by a build that was cut off: klingwatch.river_job_pkey_ccnew")
	if todo := found["indexes"].Todo; todo != "run: drop index concurrently klingwatch.river_job_pkey_ccnew" {
		t.Errorf("what to do: %s", todo)
	}
	prepare(t, pool, `drop index concurrently klingwatch.river_job_pkey_ccnew`)
	wantFinding(t, findings(t, deployment(t, pool, "")), "indexes", OK, "all are valid")
}

// An index that is needed is made valid, not dropped.
func TestWhatToDoAboutInvalidIndexes(t *testing.T) {
	t.Parallel()
	for index, todo := range map[string]string{
		"klingwatch.deliveries_pending":       "run: reindex index concurrently klingwatch.deliveries_pending",
		"klingwatch.river_job_kind":           "run: reindex index concurrently klingwatch.river_job_kind",
		"klingwatch.river_job_kind_ccnew1":    "run: drop index concurrently klingwatch.river_job_kind_ccnew1",
		"klingwatch.deliveries_pending_ccold": "run: drop index concurrently klingwatch.deliveries_pending_ccold",
		`klingwatch."relay, task_id: once"`:   `run: reindex index concurrently klingwatch."relay, task_id: once"`,
		`klingwatch."relay: once_ccnew"`:      `run: drop index concurrently klingwatch."relay: once_ccnew"`,
	} {
		if f := judgeIndexes([]string{index}); f.State != Warn || f.Todo != todo {
			t.Errorf("%+v", f)
		}
	}
	if f := judgeIndexes([]string{"klingwatch.a", "klingwatch.b_ccnew"}); f.Todo != "run: reindex index concurrently klingwatch.a; drop index concurrently klingwatch.b_ccnew" {
		t.Errorf("%+v", f)
	}
}

func TestJudgementsOfTheStorage(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) *time.Duration { return &d }
	judged(t, map[string]judgement{
		"table":            {judgeTables([]db.TableHealth{{Name: "tasks", Live: 100_000, Dead: 20_000}}), OK, "20000 dead of 120000 rows, vacuumed never"},
		"bloated":          {judgeTables([]db.TableHealth{{Name: "tasks", Live: 100_000, Dead: 60_000, Vacuumed: ago(time.Hour)}}), Warn, "vacuumed 1h ago"},
		"no snapshot":      {judgeSnapshot(nil, true), OK, "none"},
		"unseen snapshot":  {judgeSnapshot(nil, false), OK, "not seen"},
		"short snapshot":   {judgeSnapshot(&db.Snapshot{Held: ago(time.Second), Transactions: 2_000_000}, true), OK, "for long"},
		"snapshot":         {judgeSnapshot(&db.Snapshot{Holder: "pid 7", Held: ago(10 * time.Minute)}, true), Warn, "pid 7 holds vacuum back for 10m"},
		"long snapshot":    {judgeSnapshot(&db.Snapshot{Holder: "pid 7", Held: ago(3 * time.Hour)}, true), Bad, "for 3h"},
		"replication slot": {judgeSnapshot(&db.Snapshot{Holder: "slot s", Transactions: 2_000_000}, true), Warn, "2000000 transactions"},
		"notes":            {judgeNotes(0.001), OK, "0 % of Postgres' queue of notes"},
		"many notes":       {judgeNotes(0.06), Warn, "6 %"},
		"too many notes":   {judgeNotes(0.7), Bad, "70 %"},
		"disk":             {judgeDisk(5<<20, 50<<30, true), OK, "takes 5 MB, 50.0 GB are left"},
		"small disk":       {judgeDisk(5<<30, 1<<30, true), Warn, "5.0 GB, 1.0 GB are left"},
		"full disk":        {judgeDisk(5<<20, 1<<20, true), Bad, "only 1 MB"},
		"unknown disk":     {judgeDisk(5000, 0, false), OK, "5 kB"},
	})
}
