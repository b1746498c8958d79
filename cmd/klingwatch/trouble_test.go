package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// onDatabase are the commands that work on a database, and onNone the others, as
// a person types them.
var (
	onDatabase = []string{
		"serve",
		"migrate", "migrate --check",
		"track videos/text2video t1", "list", "show 1", "retry 1", "cancel 2",
		"endpoints add https://app.example/hook", "endpoints list", "endpoints edit 1 --thin", "endpoints ping 1", "endpoints rotate 1",
		"endpoints remove 1 --yes", "endpoints disable 1", "endpoints enable 1",
		"deliveries list", "deliveries show 1", "deliveries redeliver 1", "deliveries redeliver --since 1h", "deliveries redeliver --since 1h --yes",
		"deliveries cancel 1", "retry --status expired", "cancel --since 1h --yes", "outputs archive --since 1h --yes", "bulk list", "bulk stop 1",
		"keys show", "keys rotate", "api-keys add someone", "api-keys list", "api-keys revoke abcdefgh",
		"outputs list", "outputs link 1 video", "outputs fetch --to /dev/null/files",
		"relays add third https://relay.example --key-file /run/key", "relays list", "relays edit second --batch-size 5", "relays check second", "relays callback", "relays remove second",
		"sql select", "doctor",
	}
	onNone = []string{"dev --exit", "sim --listen 127.0.0.1:0", "healthcheck --url http://127.0.0.1:1", "version", "completion bash", "settings"}
)

// answerLimit is how soon a command must end when something is missing, or when it
// is interrupted.
const answerLimit = 15 * time.Second

// anyRelay are settings with which serve starts, on whatever database.
var anyRelay = []string{"KLING_BASE_URL=http://127.0.0.1:1", "KLING_API_KEY=sk-secret-key", "KLINGWATCH_LISTEN_ADDR=127.0.0.1:0"}

// answer waits for a process that must end soon, and fails where what it said holds a secret
// or a stack trace.
func (p *process) answer(t *testing.T) answer {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(answerLimit):
		t.Fatalf("%s has not ended after %s", strings.Join(p.Args, " "), answerLimit)
	}
	a := answer{strings.Join(p.Args[1:], " "), p.ProcessState.ExitCode(), p.out.String(), strings.Join(p.raw, "\n")}
	a.mustBeSafe(t)
	return a
}

// ended is answer, in parts.
func (p *process) ended(t *testing.T) (code int, stderr string) {
	t.Helper()
	a := p.answer(t)
	return a.Code, a.Err
}

// No command is left out of the tables.
func TestEveryCommandIsTriedInTrouble(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&commands{}, kong.Name("klingwatch"), kong.Writers(io.Discard, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(false) {
		name, _, _ := strings.Cut(leaf.Path(), " <")
		name, _, _ = strings.Cut(strings.TrimPrefix(name, "klingwatch "), " [")
		if !slices.ContainsFunc(slices.Concat(onDatabase, onNone), func(line string) bool {
			return line == name || strings.HasPrefix(line, name+" ")
		}) {
			t.Errorf("%q is in neither onDatabase nor onNone: add it", name)
		}
	}
}

func TestALineThatIsNotUnderstoodIsAUsageError(t *testing.T) {
	t.Parallel()
	reader := readLines(t, nil)
	for _, line := range slices.Concat(onDatabase, onNone) {
		reader.answerTo(t, line+" --nonsense").failsWith(t, exitUsage, "unknown flag --nonsense; try klingwatch --help")
	}
	for _, line := range []string{"show", "track", "endpoints", "endpoints edit one", "list --limit many", "nonsense"} {
		reader.answerTo(t, line).failsWith(t, exitUsage, "; try klingwatch --help")
	}
	launch(t, nil, "nonsense").answer(t).failsWith(t, exitUsage, "; try klingwatch --help")
}

// silentServer accepts connections and says nothing. It sends a word for each.
func silentServer(t *testing.T) (addr string, accepted <-chan struct{}) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	words := make(chan struct{}, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var conns []net.Conn
		for {
			conn, err := listener.Accept()
			if err != nil {
				break
			}
			conns = append(conns, conn)
			words <- struct{}{}
		}
		for _, conn := range conns {
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-ended })
	return listener.Addr().String(), words
}

// withoutRights returns the URL of a database as a role that may do nothing in it.
func withoutRights(t *testing.T) string {
	t.Helper()
	databaseURL := dbtest.NewURL(t)
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	role := fmt.Sprintf("stranger_%d", time.Now().UnixNano())
	if _, err := conn.Exec(t.Context(), fmt.Sprintf(`create role %s login password 'pass-secret'`, role)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if _, err := conn.Exec(ctx, `drop role `+role); err != nil {
			t.Error(err)
		}
		_ = conn.Close(ctx)
	})
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "pass-secret")
	return u.String()
}

// newerDatabase returns the URL of a database that a later version has migrated.
func newerDatabase(t *testing.T) string {
	t.Helper()
	databaseURL := dbtest.NewURL(t)
	if _, err := open(t, databaseURL).Exec(t.Context(), `insert into klingwatch.migrations (version, name) values (1000, '1000_later')`); err != nil {
		t.Fatal(err)
	}
	return databaseURL
}

// belowAFile is a path where nothing can be made, whoever tries.
func belowAFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return file + "/below"
}

// Every command that needs a database says in one line what is wrong with it.
func TestEveryCommandOnADatabaseThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	silent, _ := silentServer(t)
	for name, trouble := range map[string]struct {
		env     string
		says    string
		finding string // of the doctor
		but     []string
	}{
		"no server": {
			"DATABASE_URL=postgres://user:pass-secret@127.0.0.1:1/x", "connecting to database x on 127.0.0.1 port 1: connect: connection refused: is Postgres running there?",
			"bad     database       connecting to database x", nil,
		},
		"silent server": {
			"DATABASE_URL=postgres://user:pass-secret@" + silent + "/x", "no answer in time",
			"bad     database       connecting to database x", onDatabase[1 : len(onDatabase)-1], // all connect alike
		},
		"not a URL": {
			"DATABASE_URL=postgres://user:pass-secret@[x", "DATABASE_URL is not a Postgres URL like ",
			"bad     database       DATABASE_URL is not a Postgres URL", nil,
		},
		"no schema": {
			"DATABASE_URL=" + dbtest.NewEmptyURL(t), "run klingwatch migrate",
			"-> run klingwatch migrate", []string{"migrate", "sql select"},
		},
		"newer database": {
			"DATABASE_URL=" + newerDatabase(t), "the database is newer than this binary: install the newer klingwatch",
			"bad     migrations     the database is newer", []string{"sql select"},
		},
		"no rights": {
			"DATABASE_URL=" + withoutRights(t), "permission denied for schema klingwatch",
			"-> give DATABASE_URL the role that klingwatch serve has", []string{"sql select"},
		},
		"no embedded one runs": {
			"KLINGWATCH_DATA_DIR=" + filepath.Join(t.TempDir(), "postgres"), "there is no database: set DATABASE_URL, or start klingwatch serve",
			"warn    database       DATABASE_URL is not set, and no embedded database runs", []string{"serve", "serve --migrate"},
		},
		"no place for the embedded one": {
			"KLINGWATCH_DATA_DIR=" + belowAFile(t), "not a directory",
			"bad     database       opening the data directory: ", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := slices.DeleteFunc(slices.Clone(onDatabase), func(line string) bool { return slices.Contains(trouble.but, line) })
			env := append(slices.Clone(anyRelay), trouble.env)
			readers := []*lineReader{readLines(t, env), readLines(t, env)}
			for pair := range slices.Chunk(lines, 2) { // two that wait do so at the same time
				for i, line := range pair {
					readers[i].ask(t, line)
				}
				for i := range pair {
					readers[i].answer(t).fails(t, trouble.says, trouble.finding)
				}
			}
		})
	}
}

// What else a command needs.
func TestEveryCommandWithoutWhatItNeeds(t *testing.T) {
	t.Parallel()
	busy, _ := silentServer(t)
	nowhere := belowAFile(t)
	database := "DATABASE_URL=" + dbtest.NewURL(t)
	troubles := []struct {
		line    string
		env     []string
		says    string
		finding string // of the doctor
	}{
		{"serve", []string{database, "KLINGWATCH_LISTEN_ADDR=" + busy}, "KLINGWATCH_LISTEN_ADDR: " + busy + " is in use by another program", ""},
		{"dev", []string{"KLINGWATCH_LISTEN_ADDR=nowhere"}, `the service: cannot listen on "nowhere": `, ""},
		{"track videos/text2video x --deadline 0d", []string{database}, "--deadline must be more than 0, not 0s", ""},
		{"sim --listen " + busy, nil, "--listen: " + busy + " is in use by another program", ""},
		{"sql select", []string{"DATABASE_URL=postgres://u:pass-secret@" + busy + "/x"}, "no answer in time", ""},
		{"sql select", []string{"DATABASE_URL=", "KLINGWATCH_DATA_DIR=" + nowhere + "/postgres"}, "not a directory", ""},
		{"healthcheck", []string{"KLINGWATCH_LISTEN_ADDR=" + busy}, "no answer from http://" + busy, ""},
		{"healthcheck --url http://127.0.0.1:1", nil, "no answer from http://127.0.0.1:1: is klingwatch serve running there?", ""},
		{"serve", []string{database, "KLING_API_KEY=", "KLING_API_KEY_FILE=" + nowhere}, "KLING_API_KEY_FILE: reading the key file: ", ""},
		{"serve", []string{database, "KLING_API_KEY=", "KLING_API_KEY_FILE=" + filepath.Dir(filepath.Dir(nowhere))}, "is a directory", ""},
		{"serve", []string{database, "KLING_API_KEY=sk-secret\nkey"}, "KLING_API_KEY: the key has a line break in it, behind 9 bytes", ""},
		{"serve", []string{database, "KLING_API_KEY=sk-secret key"}, "KLING_API_KEY: the key has a space in it, behind 9 bytes", ""},
		{"serve", []string{database, "KLING_API_KEY=sk-secret\x01key"}, "KLING_API_KEY: the key has an invisible character in it, behind 9 bytes", ""},
		{"serve", []string{database, "KLING_API_KEY=", "KLING_ACCESS_KEY=ak secret", "KLING_SECRET_KEY=sk"}, "KLING_ACCESS_KEY: the key has a space in it, behind 2 bytes", ""},
		{"serve", []string{database, "KLING_API_KEY=", "KLING_ACCESS_KEY=ak", "KLING_SECRET_KEY=sk\nsecret"}, "KLING_SECRET_KEY: the key has a line break in it, behind 2 bytes", ""},
		{"doctor", []string{database, "KLING_API_KEY=", "KLING_API_KEY_FILE=" + nowhere}, "", "bad     key            KLING_API_KEY_FILE: reading the key file: "},
		{"doctor", []string{database}, "", "bad     relay          dial tcp 127.0.0.1:1: connect: connection refused"},
		{"doctor", []string{database, "KLING_BASE_URL=http://" + busy, "KLINGWATCH_POLL_TIMEOUT=1s"}, "", "bad     relay          no answer in time"},
		{"serve", []string{database, "KLING_BASE_URL="}, "KLING_BASE_URL is not set", ""},
		{"serve", []string{database, "OTEL_TRACES_EXPORTER=nonsense", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"}, "OTEL_TRACES_EXPORTER must be otlp or none", ""},
		{"dev", []string{"TMPDIR=" + nowhere}, "making a directory for the database: ", ""},
		{"dev --exit", []string{"KLINGWATCH_POSTGRES_BIN_DIR=" + nowhere}, "there is no initdb", ""},
		{"dev --exit", []string{"TMPDIR=" + dbtest.NewDir(t), "OTEL_TRACES_EXPORTER=nonsense", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"}, "OTEL_TRACES_EXPORTER must be otlp or none", ""},
	}
	started := make([]*process, len(troubles)) // together: some wait for seconds
	for i, trouble := range troubles {
		started[i] = launch(t, append(slices.Clone(anyRelay), trouble.env...), strings.Fields(trouble.line)...)
	}
	for i, trouble := range troubles {
		started[i].answer(t).fails(t, trouble.says, trouble.finding)
	}

	// one that answers with an error is shown as a whole
	ping := launch(t, append(anyRelay, database, "KLINGWATCH_WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8"), "endpoints", "ping", "http://127.0.0.1:1/hook")
	if code, stderr := ping.ended(t); code != exitError || stderr != "" || !strings.Contains(ping.stdout(), "connection_refused") {
		t.Errorf("ping: exit code %d\n%s\n%s", code, ping.stdout(), stderr)
	}
}
