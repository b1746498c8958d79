package db_test

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestAPauseBeginsOnceAndIsForgottenWhenNobodyProbes(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	pause := func(credential, reason string) bool {
		t.Helper()
		return must(db.PausePolling(t.Context(), pool, credential, reason, time.Minute, db.PauseStale))(t)
	}
	if first, second, other := pause("a", "HTTP 401"), pause("a", "HTTP 403"), pause("b", "HTTP 402"); !first || second || !other {
		t.Errorf("first %v, second %v, of another credential %v", first, second, other)
	}
	pauses := must(db.Pauses(t.Context(), pool, db.PauseStale))(t)
	if len(pauses) != 2 || pauses[0].Credential != "a" || pauses[0].Reason != "HTTP 401" || pauses[0].ProbeAt.Sub(pauses[0].PausedAt) != time.Minute || pauses[1].Credential != "b" {
		t.Errorf("pauses %+v", pauses)
	}
	run(t, pool, `update klingwatch.polling_pauses set paused_at = paused_at - interval '1 h', probe_at = now() - interval '6 min' where credential = 'a'`)
	if pauses := must(db.Pauses(t.Context(), pool, db.PauseStale))(t); len(pauses) != 1 || pauses[0].Credential != "b" {
		t.Errorf("pauses in force %+v", pauses)
	}
	if !pause("a", "HTTP 403") {
		t.Error("a pause that nobody probed did not begin anew")
	}
	if pauses := must(db.Pauses(t.Context(), pool, db.PauseStale))(t); len(pauses) != 2 || pauses[1].Credential != "a" || pauses[1].Reason != "HTTP 403" || !near(time.Since(pauses[1].PausedAt), 0) {
		t.Errorf("pauses %+v", pauses)
	}
	check(t, db.ResumePolling(t.Context(), pool, "b"))
	run(t, pool, `update klingwatch.polling_pauses set probe_at = now() - interval '6 min'`)
	check(t, db.PrunePauses(t.Context(), pool, 10*time.Minute))
	if n := value[int](t, pool, `select count(*) from klingwatch.polling_pauses`); n != 1 {
		t.Errorf("%d pauses, one was wanted", n)
	}
	check(t, db.PrunePauses(t.Context(), pool, db.PauseStale))
	if n := value[int](t, pool, `select count(*) from klingwatch.polling_pauses`); n != 0 {
		t.Errorf("%d pauses, none was wanted", n)
	}
}

func TestTwoReportARefusedCredentialAtOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, state := range []string{"new", "stale"} {
		run(t, pool, `update klingwatch.polling_pauses set probe_at = now() - interval '1 h'`)
		tx, second := begin(t, pool), true
		first := must(db.PausePolling(t.Context(), tx, "c", "HTTP 401", time.Minute, db.PauseStale))(t)
		wait := dbtest.Blocked(t, pool, func() (err error) {
			second, err = db.PausePolling(t.Context(), pool, "c", "HTTP 401", time.Minute, db.PauseStale)
			return err
		})
		commit(t, tx)
		check(t, wait())
		if !first || second {
			t.Errorf("a %s pause: first %v, second %v", state, first, second)
		}
	}
}

func TestAProbeIsClaimedByOneProcess(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	claim := func(q db.Querier) bool {
		t.Helper()
		return must(db.ClaimProbe(t.Context(), q, "c", time.Minute))(t)
	}
	if claim(pool) {
		t.Error("a probe of a credential that is not paused was claimed")
	}
	must(db.PausePolling(t.Context(), pool, "c", "HTTP 401", time.Minute, db.PauseStale))(t)
	if claim(pool) {
		t.Error("a probe was claimed before it was due")
	}
	for _, end := range []string{"commit", "rollback"} {
		check(t, db.ReturnProbe(t.Context(), pool, "c"))
		first, second := begin(t, pool), false
		if !claim(first) {
			t.Fatal("a probe that is due was not claimed")
		}
		wait := dbtest.Blocked(t, pool, func() (err error) {
			second, err = db.ClaimProbe(t.Context(), pool, "c", time.Minute)
			return err
		})
		if end == "commit" {
			commit(t, first)
		} else {
			check(t, first.Rollback(t.Context()))
		}
		check(t, wait())
		if second != (end == "rollback") {
			t.Errorf("after the %s of the first claim the second is %v", end, second)
		}
	}
	if pauses := must(db.Pauses(t.Context(), pool, db.PauseStale))(t); len(pauses) != 1 || !near(time.Until(pauses[0].ProbeAt), time.Minute) {
		t.Errorf("pauses %+v", pauses)
	}
}
