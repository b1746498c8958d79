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

func TestPausesTellTheirRelays(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, relay := range []string{"b", "a", "fine"} {
		exec(t, pool, fmt.Sprintf(`insert into klingwatch.relays (name, base_url, key_source, key_file, credential) values ('%[1]s', 'https://relay.example', 'key_file', '/k', case when '%[1]s' = 'fine' then '2222' else '1111' end)`, relay))
	}
	for _, credential := range []string{"1111", "of nobody"} {
		if _, err := db.PausePolling(t.Context(), pool, credential, "refused: HTTP 401", time.Minute, db.PauseStale, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.PausePolling(t.Context(), pool, "2222", "refused: HTTP 401", time.Minute, db.PauseStale, false); err != nil { // the others may object
		t.Fatal(err)
	}
	pauses, err := operate.Pauses(t.Context(), pool)
	if err != nil || len(pauses) != 1 || pauses[0].Credential != "1111" || fmt.Sprint(pauses[0].Relays) != "[a b]" || pauses[0].Reason != "refused: HTTP 401" {
		t.Errorf("%+v, %v", pauses, err)
	}
}
