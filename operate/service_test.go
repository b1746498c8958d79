package operate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
)

func TestProcessesAreCountedWhileTheyLive(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	processes := func(want int) {
		t.Helper()
		if n, err := operate.Processes(t.Context(), pool); err != nil || n != want {
			t.Errorf("%d processes, want %d (%v)", n, want, err)
		}
	}
	processes(0)
	var conns []*pgx.Conn
	for n := range 2 {
		conn, err := pgx.Connect(t.Context(), pool.Config().ConnString())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := db.ClaimInstance(t.Context(), conn); err != nil { // as a process does
			t.Fatal(err)
		}
		conns = append(conns, conn)
		processes(n + 1)
	}
	exec(t, pool, fmt.Sprintf(`select pg_terminate_backend(%d, 60000)`, conns[0].PgConn().PID())) // it dies; waits until it is gone
	processes(1)
}

func TestAPauseIsFoundByItsCredential(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	paused := func(credential string) *db.Pause {
		t.Helper()
		pause, err := operate.Paused(t.Context(), pool, credential)
		if err != nil {
			t.Fatal(err)
		}
		return pause
	}
	if pause := paused(""); pause != nil {
		t.Errorf("without any: %+v", pause)
	}
	for _, credential := range []string{"first", "second"} {
		if _, err := db.PausePolling(t.Context(), pool, credential, "refused: HTTP 401", time.Minute, db.PauseStale); err != nil {
			t.Fatal(err)
		}
	}
	for credential, want := range map[string]string{"": "first", "first": "first", "second": "second"} {
		if pause := paused(credential); pause == nil || pause.Credential != want || pause.Reason != "refused: HTTP 401" || time.Until(pause.ProbeAt) > time.Minute {
			t.Errorf("%q: %+v, want %s", credential, pause, want)
		}
	}
	if pause := paused("third"); pause != nil {
		t.Errorf("a credential that works: %+v", pause)
	}
	exec(t, pool, `update klingwatch.polling_pauses set probe_at = now() - interval '1 hour' where credential = 'first'`)
	if pause := paused("first"); pause != nil {
		t.Errorf("nobody has probed for an hour: %+v", pause)
	}
}
