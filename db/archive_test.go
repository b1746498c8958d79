package db_test

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// keptFiles gives a task images in states of the archive; "" was not asked for. It returns
// their numbers there, 0 for none.
func keptFiles(t testing.TB, q db.Querier, task int64, states ...string) (ids []int64) {
	t.Helper()
	for i, state := range states {
		ids = append(ids, value[int64](t, q, `
			insert into klingwatch.outputs (task, kind, position, url, archive_state, archive_id, archive_key, bytes, sha256, archived_at)
			select $1, 'image', $2::int, 'https://a.example/' || $2::int, nullif(state, ''), case when state <> '' then nextval('klingwatch.archive_ids') end,
			       case when state = 'stored' then 'key' end, case when state = 'stored' then 1 end, case when state = 'stored' then 'aa' end, case when state = 'stored' then now() end
			from (select $3::text) as s(state)
			returning coalesce(archive_id, 0)`, task, i, state))
	}
	return ids
}

// What is stored, on its way, too large or gone at the provider stays as it is.
func TestFilesAreAskedForThatCanStillBeHad(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "mixed", "whole", "gone", "none")
	keptFiles(t, pool, ids[0], "", db.ArchiveLost, db.ArchiveStored, db.ArchivePending, db.ArchiveSkipped, "", db.ArchiveLost)
	run(t, pool, `update klingwatch.outputs set expires_at = now() + case when position < 5 then interval '1 h' else interval '-1 s' end`)
	run(t, pool, `update klingwatch.outputs set archive_attempts = 3, archive_error = 'it was away', refreshed_at = now() where archive_state = 'lost'`)
	keptFiles(t, pool, ids[1], db.ArchiveStored)
	keptFiles(t, pool, ids[2], "")
	run(t, pool, `update klingwatch.outputs set expires_at = now() - interval '1 s' where task = $1`, ids[2])
	before := must(db.OutputsOfTask(t.Context(), pool, ids[0]))(t)

	asked := must(db.AskForFiles(t.Context(), pool, ids))(t)
	if len(asked) != 1 || asked[0] != ids[0] {
		t.Errorf("asked for files of %v, want %d", asked, ids[0])
	}
	for i, o := range must(db.OutputsOfTask(t.Context(), pool, ids[0]))(t) {
		if i > 1 {
			if o.ArchiveAttempts != before[i].ArchiveAttempts || (o.ArchiveState == nil) != (before[i].ArchiveState == nil) || o.ArchiveState != nil && *o.ArchiveState != *before[i].ArchiveState {
				t.Errorf("file %d was %+v, and is %+v", i, before[i].KeptFile, o.KeptFile)
			}
			continue
		}
		id := value[int64](t, pool, `select archive_id from klingwatch.outputs where task = $1 and position = $2 and refreshed_at is null`, ids[0], i)
		if jobs := jobsOf(t, pool, "archive", id); *o.ArchiveState != db.ArchivePending || o.ArchiveAttempts != 0 || o.ArchiveError != nil || len(jobs) != 1 || jobs[0].State != "available" {
			t.Errorf("file %d is %+v with the jobs %+v", i, o.KeptFile, jobs)
		}
	}
	if asked := must(db.AskForFiles(t.Context(), pool, ids))(t); len(asked) != 0 {
		t.Errorf("asked again for files of %v", asked)
	}
}

// A relay that keeps files for a day has them all expire within a day: those that have just
// come are no trouble.
func TestFilesThatAreNotStoredAreCounted(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "old", "new")
	keptFiles(t, pool, ids[0], "", db.ArchivePending, db.ArchiveLost, db.ArchiveStored, db.ArchivePending)
	keptFiles(t, pool, ids[1], db.ArchivePending)
	run(t, pool, `update klingwatch.tasks set status = 'succeeded', finished_at = now() - case when id = $1 then interval '1 h' else interval '1 min' end`, ids[0])
	run(t, pool, `update klingwatch.outputs set expires_at = now() + case when position = 4 then interval '25 h' else interval '23 h' end`)
	run(t, pool, `update klingwatch.river_job set created_at = now() - interval '2 min' where kind = 'archive'`)
	run(t, pool, `update klingwatch.river_job set created_at = now() - interval '1 h', state = 'completed', finalized_at = now() where id = (select min(id) from klingwatch.river_job where kind = 'archive')`)
	got := must(db.Stats(t.Context(), pool, db.FigureLimits{}))(t)
	if got.ArchiveWaiting != 3 || got.ArchiveExpiring != 2 || !near(time.Duration(got.ArchiveOldest*float64(time.Second)), 2*time.Minute) {
		t.Errorf("%d wait, the oldest for %v s, %d expire", got.ArchiveWaiting, got.ArchiveOldest, got.ArchiveExpiring)
	}
	run(t, pool, `delete from klingwatch.tasks`)
	run(t, pool, `delete from klingwatch.river_job`)
	if got := must(db.Stats(t.Context(), pool, db.FigureLimits{}))(t); got.ArchiveWaiting != 0 || got.ArchiveOldest != 0 || got.ArchiveExpiring != 0 {
		t.Errorf("without files: %+v", got)
	}
}

func TestWhetherAnybodyKeepsFilesIsKnown(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, test := range []struct {
		sql  string
		kept bool
	}{
		{`insert into klingwatch.river_queue (name, updated_at) values ('deliver', now())`, false},
		{`insert into klingwatch.river_queue (name, updated_at) values ('archive', now() - interval '11 min')`, true},
		{`update klingwatch.river_queue set updated_at = now() - interval '16 min'`, false},
	} {
		run(t, pool, test.sql)
		if kept := must(db.FilesAreKept(t.Context(), pool))(t); kept != test.kept {
			t.Errorf("after %s files are kept: %v", test.sql, kept)
		}
	}
}
