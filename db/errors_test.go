package db_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// kinds says what the functions of the package say of an error.
func kinds(err error) string {
	kinds := []string{string(db.OutageOf(err))}
	if db.RefusedValue(err) {
		kinds = append(kinds, "refused")
	}
	if db.RowLocked(err) {
		kinds = append(kinds, "locked")
	}
	return strings.TrimSpace(strings.Join(kinds, " "))
}

func expect(t *testing.T, what, want string, err error) {
	t.Helper()
	if err == nil || kinds(err) != want {
		t.Errorf("%s is %q, want %q: %v", what, kinds(err), want, err)
	}
}

func TestErrorsOfPostgresAreOfTheRightKind(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	if kinds(nil) != "" || db.Code(nil) != "" || kinds(errors.New("anything")) != "" {
		t.Error("no error, or one of another origin, has a kind")
	}
	try := func(sql string, args ...any) error {
		_, err := pool.Exec(t.Context(), sql, args...)
		return err
	}
	const insert = `insert into klingwatch.tasks (task_id, action, action2) values ($1, 'videos', 'text2video')`
	check(t, try(insert, "a"))
	expect(t, "a duplicate", "refused", try(insert, "a"))
	expect(t, "a value that is not allowed", "refused", try(insert, "a b"))
	expect(t, "a number that is none", "refused", try(`select $1::text::int`, "x"))
	expect(t, "two rows for one", "refused", try(`select (select g from generate_series(1, 2) g)`))
	expect(t, "nonsense", "", try(`selekt`))
	expect(t, "a statement that was canceled", "", try(`select pg_cancel_backend(pg_backend_pid())`))
	expect(t, "an end by the administrator", "unreachable", try(`select pg_terminate_backend(pg_backend_pid())`))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	expect(t, "a caller who left", "", db.Ping(ended, pool))
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	expect(t, "a caller whose time has passed", "unreachable", db.Ping(late, pool))
	conn := connect(t, pool)
	check(t, conn.Close(t.Context()))
	expect(t, "a closed connection", "unreachable", db.Ping(t.Context(), conn))
	_, err := pgx.Connect(t.Context(), "postgres://"+nobody+"/x")
	expect(t, "a server that is not there", "unreachable", err)
	expect(t, "the end of the stream", "unreachable", io.ErrUnexpectedEOF)
	if db.Transient(nil) || !db.Transient(io.ErrUnexpectedEOF) {
		t.Error("a write may succeed in a moment where the database is in trouble, and only there")
	}
}

// Whatever the database suffers from is told from what was asked of it, as an error and
// as the text of one.
func TestTroubleOfTheDatabaseHasAName(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for code, want := range map[string]db.Outage{
		"25006": db.ReadOnly, "25P03": db.Unreachable, "57P05": db.Unreachable, "57P01": db.Unreachable, "08006": db.Unreachable,
		"53100": db.DiskFull, "53200": db.OutOfMemory, "53300": db.TooManyConnections, "53400": db.OutOfResources, "58030": db.OutOfResources,
		"40001": db.Conflict, "40P01": db.Conflict,
		"23505": db.NoOutage, "22P05": db.NoOutage, "42501": db.NoOutage, "P0001": db.NoOutage, "57014": db.NoOutage, "XX001": db.NoOutage,
	} {
		_, err := pool.Exec(t.Context(), `do $$ begin raise exception 'as if' using errcode = '`+code+`'; end $$`)
		if got := db.OutageOf(err); got != want || db.OutageIn(err.Error()) != want {
			t.Errorf("%s is %q, its text %q, want %q: %v", code, got, db.OutageIn(err.Error()), want, err)
		}
	}
	_, err := pgx.Connect(t.Context(), "postgres://"+nobody+"/x")
	for text, want := range map[string]db.Outage{
		err.Error(): db.Unreachable, "conn closed": db.Unreachable, "a task is wrong": db.NoOutage, "": db.NoOutage,
		"claiming: " + db.ErrReadOnly.Error(): db.ReadOnly,
	} {
		if got := db.OutageIn(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// Each of two transactions waits for the other's row.
func TestADeadlockIsOneErrorInEachOthersWay(t *testing.T) {
	t.Parallel()
	pool := must(db.Open(t.Context(), dbtest.NewURL(t)+"&deadlock_timeout=20ms", 5))(t)
	t.Cleanup(pool.Close)
	ids := track(t, pool, "a", "b")
	first, second := begin(t, pool), begin(t, pool)
	write := func(tx pgx.Tx, id int64) error {
		_, err := tx.Exec(t.Context(), `update klingwatch.tasks set polls = 1 where id = $1`, id)
		return err
	}
	check(t, write(first, ids[0]))
	check(t, write(second, ids[1]))
	wait := dbtest.Blocked(t, pool, func() error { return write(first, ids[1]) })
	one, other := write(second, ids[0]), wait()
	if (one == nil) == (other == nil) {
		t.Fatalf("one got %v, the other %v", one, other)
	}
	expect(t, "a deadlock", "conflict", errors.Join(one, other))
}

func TestAWriteOverANewerStateIsInEachOthersWay(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "a")[0]
	tx := must(pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead}))(t)
	defer tx.Rollback(t.Context())
	target(t, tx, id)
	move(t, pool, id, db.Failed)
	_, err := tx.Exec(t.Context(), `update klingwatch.tasks set polls = 1`)
	expect(t, "a serialization failure", "conflict", err)
}

// A process is stopped in the middle of a transaction, and goes on later.
func TestAProcessThatSleptInATransactionHasLostItsConnection(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "a")[0]
	tx := begin(t, pool)
	run(t, tx, `set local idle_in_transaction_session_timeout = '50ms'`)
	run(t, tx, `update klingwatch.tasks set polls = 7 where id = $1`, id)
	run(t, pool, `update klingwatch.tasks set polls = 1 where id = $1`, id) // waits for the end of the sleeper
	_, err := tx.Exec(t.Context(), `select 1`)
	expect(t, "the end of the session", "unreachable", err)
	if polls := task(t, pool, id).Polls; polls != 1 {
		t.Errorf("%d polls", polls)
	}
}

// nobody is an address where nothing listens: a port that no program is given. One that
// was just closed may be another test's a moment later.
const nobody = "127.0.0.1:1"

// stranger returns the address of a server that is not Postgres: it reads what
// comes, answers once, and hangs up.
func stranger(t *testing.T, answer string) string {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 1000))
				_, _ = io.WriteString(conn, answer)
				if answer == "" { // never answers
					_, _ = io.Copy(io.Discard, conn)
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// Whatever keeps us from a database, its error is one line that names the place
// and the trouble, and hides the password.
func TestAConnectionThatFailsIsExplainedInOneLine(t *testing.T) {
	t.Parallel()
	real := dbtest.NewURL(t)
	account, place, _ := strings.Cut(strings.TrimPrefix(real, "postgres://"), "@")
	name, _, _ := strings.Cut(account, ":")
	server, _, _ := strings.Cut(place, "/")
	const secret = "postgres://user:s3cret@"
	hangUp, web, tls, silent := stranger(t, "\x00"), stranger(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), stranger(t, "Sgarbage\n\n"), stranger(t, "")
	for what, c := range map[string]struct{ url, want string }{
		"no URL":                 {"postgres://user:s3cret@host:port/x", "DATABASE_URL is not a Postgres URL like postgres://user:password@host:5432/database"},
		"nobody":                 {secret + nobody + "/x", "connect: connection refused: is Postgres running there?"},
		"nobody at two places":   {secret + nobody + "," + nobody + "/x", "connect: connection refused: is Postgres running there?"},
		"no socket":              {"postgres:///x?host=/nonexistent&password=s3cret", "connect: no such file or directory: is Postgres running there?"},
		"no such host":           {secret + "a..b/x", "the host's name cannot be resolved"},
		"no such database":       {strings.Replace(real, place, server+"/nothing", 1), `database "nothing" does not exist`},
		"another password":       {"postgres://" + name + ":s3cret@" + place, `password authentication failed for user "` + name + `"`},
		"an unknown setting":     {real + "&foo=bar", `unrecognized configuration parameter "foo"`},
		"no encryption there":    {strings.Replace(real, "sslmode=disable", "sslmode=require", 1), "tls error: server refused TLS connection"},
		"not a standby":          {real + "&target_session_attrs=standby", "ValidateConnect failed: server is not in hot standby mode"},
		"a web server":           {secret + web + "/x", "failed to receive message: "},
		"a web server with TLS":  {secret + web + "/x?sslmode=require", "tls error: "},
		"one that hangs up":      {secret + hangUp + "/x?sslmode=disable", ""},
		"one that speaks no TLS": {secret + tls + "/x?sslmode=require", ""},
		"one that says nothing":  {secret + silent + "/x", "no answer in time: is Postgres running there, and reachable?"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if what == "one that says nothing" {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		}
		_, err := db.Open(ctx, c.url, 2)
		cancel()
		explained(t, what, c.want, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := db.Open(ended, real, 2)
	if explained(t, "a caller who left", "context canceled", err); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who left: %v", err)
	}
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, err = db.Open(late, real, 2)
	explained(t, "a caller whose time has passed", "no answer in time", err)
}

func explained(t *testing.T, what, want string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: connected", what)
		return
	}
	text := err.Error()
	if !strings.HasPrefix(text, "connecting to database ") && !strings.HasPrefix(text, "DATABASE_URL ") || !strings.Contains(text, want) ||
		strings.ContainsAny(text, "\n\r") || strings.Contains(text, "%!") || strings.Contains(text, "s3cret") || strings.Contains(text, "<nil>") {
		t.Errorf("%s: %q, want it to say %q", what, text, want)
	}
}

// Whatever is asked, a caller who has left gets that error and no half answer.
func TestACallerWhoLeftGetsNoHalfAnswer(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() (any, error){
		"ApplyChanges": func() (any, error) {
			rows, err := db.ApplyChanges(ended, pool, []db.Change{{Task: 1}})
			return len(rows), err
		},
		"RecordTroubles": func() (any, error) {
			rows, err := db.RecordTroubles(ended, pool, []db.Trouble{{Task: 1}})
			return len(rows), err
		},
		"FindTracked": func() (any, error) {
			rows, err := db.FindTracked(ended, pool, []db.NewTask{newTask("t")})
			return len(rows), err
		},
		"GetPollTarget":   func() (any, error) { row, err := db.GetPollTarget(ended, pool, 1, deadline); return row.Polls, err },
		"GetEndpoint":     func() (any, error) { row, err := db.GetEndpoint(ended, pool, 1); return row.Waiting, err },
		"ChangeEndpoint":  func() (any, error) { return 0, db.ChangeEndpoint(ended, pool, 1, db.EndpointChange{}) },
		"GiveMissingJobs": func() (any, error) { return db.GiveMissingJobs(ended, pool, time.Second) },
		"WakeDueJobs":     func() (any, error) { n, err := db.WakeDueJobs(ended, pool, 1); return int(n), err },
		"ReturnJobs":      func() (any, error) { return db.ReturnJobs(ended, pool, 0) },
		"Stats":           func() (any, error) { f, err := db.Stats(ended, pool, figureLimits); return len(f.Tables), err },
		"RemoveEndpoint": func() (any, error) {
			done, err := db.RemoveEndpoint(ended, pool, 1, 1)
			return map[bool]int{true: 1}[done], err
		},
	} {
		if got, err := call(); !errors.Is(err, context.Canceled) || got != 0 || strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("%s returned %v and %v", name, got, err)
		}
	}
}
