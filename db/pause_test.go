package db_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// relaysAskedWith adds a relay for each credential.
func relaysAskedWith(t *testing.T, pool *pgxpool.Pool, credentials ...string) {
	t.Helper()
	for _, credential := range credentials {
		run(t, pool, `insert into klingwatch.relays (name, base_url, key_source, key_file, credential) values ('relay-' || $1, 'https://relay.example', 'key_file', '/run/key', $1)`, credential)
	}
}

func TestAPauseBeginsOnceAndIsForgottenWhenNobodyProbes(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relaysAskedWith(t, pool, "a", "b")
	pause := func(credential, reason string) bool {
		t.Helper()
		return must(db.PausePolling(t.Context(), pool, credential, reason, time.Minute, db.PauseStale, true))(t)
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

// The database's clock goes back: the probe that was a minute away is an hour away then.
func TestAProbeIsClaimedThatIsFurtherAwayThanItsDistance(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, ignored(db.PausePolling(t.Context(), pool, "a", "HTTP 401", time.Minute, db.PauseStale, true)))
	claim := func() bool { return must(db.ClaimProbe(t.Context(), pool, "a", time.Minute))(t) }
	if claim() {
		t.Error("claimed a minute before its time")
	}
	run(t, pool, `update klingwatch.polling_pauses set probe_at = probe_at + interval '1 h'`)
	if first, second := claim(), claim(); !first || second {
		t.Errorf("claimed: %v, then %v", first, second)
	}
}

func ignored[T any](_ T, err error) error { return err }

func TestTwoReportARefusedCredentialAtOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, state := range []string{"new", "stale"} {
		run(t, pool, `update klingwatch.polling_pauses set probe_at = now() - interval '1 h'`)
		tx, second := begin(t, pool), true
		first := must(db.PausePolling(t.Context(), tx, "c", "HTTP 401", time.Minute, db.PauseStale, true))(t)
		wait := dbtest.Blocked(t, pool, func() (err error) {
			second, err = db.PausePolling(t.Context(), pool, "c", "HTTP 401", time.Minute, db.PauseStale, true)
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
	relaysAskedWith(t, pool, "c")
	claim := func(q db.Querier) bool {
		t.Helper()
		return must(db.ClaimProbe(t.Context(), q, "c", time.Minute))(t)
	}
	if claim(pool) {
		t.Error("a probe of a credential that is not paused was claimed")
	}
	must(db.PausePolling(t.Context(), pool, "c", "HTTP 401", time.Minute, db.PauseStale, true))(t)
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

func TestASuspectedPauseHoldsNobodyUntilItIsConfirmed(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relaysAskedWith(t, pool, "c")
	suspect := func(confirmed bool) bool {
		t.Helper()
		return must(db.PausePolling(t.Context(), pool, "c", "HTTP 401", 0, db.PauseStale, confirmed))(t)
	}
	if first, second := suspect(false), suspect(false); !first || second {
		t.Errorf("first %v, second %v", first, second)
	}
	if must(db.ClaimProbe(t.Context(), pool, "c", time.Minute))(t) {
		t.Error("a probe was claimed of a pause that may not come")
	}
	if pauses := must(db.Pauses(t.Context(), pool, db.PauseStale))(t); len(pauses) != 1 || pauses[0].Confirmed || pauses[0].Age < 0 || pauses[0].Relays[0] != "relay-c" {
		t.Errorf("pauses %+v", pauses)
	}
	if first, second := must(db.ConfirmPause(t.Context(), pool, "c"))(t), must(db.ConfirmPause(t.Context(), pool, "c"))(t); !first || second {
		t.Errorf("confirmed by the first %v, by the second %v", first, second)
	}
	if !must(db.ClaimProbe(t.Context(), pool, "c", time.Minute))(t) {
		t.Error("no probe was claimed")
	}
	check(t, db.ResumePolling(t.Context(), pool, "c"))
	if first, lone := suspect(false), suspect(true); !first || !lone {
		t.Errorf("suspected %v, then known by a process that is alone: %v", first, lone)
	}
}

func TestThePauseOfACredentialThatNoRelayHasIsOver(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relaysAskedWith(t, pool, "new")
	for _, credential := range []string{"old", "new"} {
		must(db.PausePolling(t.Context(), pool, credential, "HTTP 401", time.Minute, db.PauseStale, true))(t)
	}
	if pauses := must(db.Pauses(t.Context(), pool, db.PauseStale))(t); len(pauses) != 1 || pauses[0].Credential != "new" {
		t.Errorf("pauses %+v", pauses)
	}
	check(t, db.DropPause(t.Context(), pool, "old"))
	check(t, db.DropPause(t.Context(), pool, "new"))
	if left := value[string](t, pool, `select string_agg(credential, ' ') from klingwatch.polling_pauses`); left != "new" {
		t.Errorf("left are %s", left)
	}
}
