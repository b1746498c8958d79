//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestStartAnswersAndKeepsItsDataPrivate(t *testing.T) {
	t.Parallel()
	dir := newDataDir(t)
	server := start(t, Config{DataDir: dir})
	if got := queryOne[int](t, server.URL(), "select 1"); got != 1 {
		t.Errorf("select 1 = %d", got)
	}
	if !server.Owner() {
		t.Error("the only process is not the owner")
	}
	for setting, want := range map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": "",
		"password_encryption":     "scram-sha-256",
		"server_encoding":         "UTF8",
		"lc_collate":              "C",
		"fsync":                   "off", // a parameter of ours
	} {
		if got := queryOne[string](t, server.URL(), "select current_setting('"+setting+"')"); got != want {
			t.Errorf("%s = %q, want %q", setting, got, want)
		}
	}
	if got := queryOne[string](t, server.URL(), "select current_database()"); got != "klingwatch" {
		t.Errorf("database %q", got)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, "password"): 0o600} {
		info, err := os.Stat(path)
		check(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("mode of %s is %o, want %o", path, info.Mode().Perm(), want)
		}
	}
	wrong := strings.Replace(server.URL(), "klingwatch:", "klingwatch:x", 1)
	if conn, err := pgx.Connect(t.Context(), wrong); !isCode(err, invalidPassword) {
		t.Errorf("signed in with a wrong password: %v, %v", conn, err)
	}
}

func TestDataAndPortSurviveClose(t *testing.T) {
	t.Parallel()
	dir := newUsedDir(t)
	first := start(t, Config{DataDir: dir, Database: `odd "name"`})
	exec1(t, first.URL(), "create table kept as select 42 as n")
	check(t, first.Close())
	check(t, first.Close())
	if isServing(t, dir) {
		t.Error("a server runs after Close")
	}
	second := start(t, Config{DataDir: dir, Database: `odd "name"`})
	if got := queryOne[int](t, second.URL(), "select n from kept"); got != 42 {
		t.Errorf("kept %d, want 42", got)
	}
	if first.URL() != second.URL() {
		t.Errorf("the address changed from %s to %s", first.URL(), second.URL())
	}
}

func TestAnOrdinaryUserRunsTheServer(t *testing.T) {
	t.Parallel()
	dir := newDataDir(t)
	uid := ordinaryUser(t, filepath.Dir(dir))
	other := startProcess(t, dir, uid)
	if owner, url := other.waitReady(); !owner || queryOne[int](t, url, "select 1") != 1 {
		t.Errorf("owner %v", owner)
	}
	info, err := os.Stat(dir)
	check(t, err)
	if int(ownerOf(info)) != uid {
		t.Errorf("the directory belongs to %d, want %d", ownerOf(info), uid)
	}
	if os.Geteuid() == 0 {
		// Root uses the server of an ordinary user, and takes it over as that user.
		server := start(t, Config{DataDir: dir})
		other.kill()
		eventually(t, "root has taken over", server.Owner)
		check(t, server.Close())
	}
}

func TestKillOfTheParentLeavesNoServerAndLosesNoData(t *testing.T) {
	t.Parallel()
	dir := newUsedDir(t)
	parent := startProcess(t, dir, -1)
	_, url := parent.waitReady()
	exec1(t, url, "create table kept as select 42 as n")
	pid := serverPid(t, dir)
	parent.kill()
	eventually(t, "the server is gone", func() bool { return !isPostmaster(pid, filepath.Join(dir, "data")) })
	server := start(t, Config{DataDir: dir})
	if got := queryOne[int](t, server.URL(), "select n from kept"); got != 42 {
		t.Errorf("kept %d, want 42", got)
	}
}

func TestTwoProcessesShareOneServer(t *testing.T) {
	t.Parallel()
	dir := newUsedDir(t)
	server := start(t, Config{DataDir: dir})
	other := startProcess(t, dir, -1)
	owner, url := other.waitReady()
	if owner || url != server.URL() {
		t.Errorf("the second process is owner %v at %s, want a user at %s", owner, url, server.URL())
	}
	if messages := other.says("notify"); len(messages) != 1 || !strings.Contains(messages[0], "using the running server of process") {
		t.Errorf("the second process said %q", messages)
	}
	other.close()
	check(t, other.cmd.Wait())
	if got := queryOne[int](t, server.URL(), "select 1"); got != 1 {
		t.Error("Close of a user stopped the server")
	}
}

func TestWhoWantsToBeAloneIsRefusedBesideAnother(t *testing.T) {
	t.Parallel()
	dir := newUsedDir(t)
	server := start(t, Config{DataDir: dir, Alone: true})
	_, err := Start(t.Context(), Config{DataDir: dir, Alone: true})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("it is in use by process %d", os.Getpid())) {
		t.Error(err)
	}
	if got := queryOne[int](t, server.URL(), "select 1"); got != 1 {
		t.Error("the first is gone")
	}
}

func TestRaceAtAnEmptyDirectoryInitialisesOnce(t *testing.T) {
	t.Parallel()
	dir := newDataDir(t)
	processes := []*process{startProcess(t, dir, -1), startProcess(t, dir, -1)}
	var mu sync.Mutex
	messages, owners := []string{}, 0
	server := start(t, Config{DataDir: dir, Notify: func(message string) {
		mu.Lock()
		defer mu.Unlock()
		messages = append(messages, message)
	}})
	if server.Owner() {
		owners++
	}
	mu.Lock()
	all := strings.Join(messages, "\n")
	mu.Unlock()
	for _, p := range processes {
		owner, url := p.waitReady()
		if owner {
			owners++
		}
		if url != server.URL() {
			t.Errorf("two servers: %s and %s", url, server.URL())
		}
		all += strings.Join(p.says("notify"), "\n")
	}
	if n := strings.Count(all, "initialising"); n != 1 || owners != 1 {
		t.Errorf("%d times initialised, %d owners; want 1 of each", n, owners)
	}
}

func TestUsersTakeOver(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*process){
		"after kill -9": (*process).kill,
		"after Close":   (*process).close,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newUsedDir(t)
			owner := startProcess(t, dir, -1)
			owner.waitReady()
			user := start(t, Config{DataDir: dir})
			pool, err := pgxpool.New(t.Context(), user.URL())
			check(t, err)
			defer pool.Close()
			_, err = pool.Exec(t.Context(), "create table kept as select 42 as n")
			check(t, err)

			end(owner)
			eventually(t, "the user owns the server", user.Owner)
			eventually(t, "the same pool reads the same row", func() bool {
				var n int
				err := pool.QueryRow(t.Context(), "select n from kept").Scan(&n)
				return err == nil && n == 42
			})
			check(t, owner.wait())
		})
	}
}

func TestCrashedServerIsStartedAgain(t *testing.T) {
	t.Parallel()
	dir := newUsedDir(t)
	// Even without fsync; but a commit must not wait in the memory that is lost.
	server := start(t, Config{DataDir: dir, Parameters: map[string]string{"fsync": "off"}})
	exec1(t, server.URL(), "create table kept as select 42 as n")
	url, pid := server.URL(), serverPid(t, dir)
	kill(t, pid)
	eventually(t, "another server answers", func() bool {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			return false
		}
		return conn.Close(t.Context()) == nil && serverPid(t, dir) != pid
	})
	if got := queryOne[int](t, url, "select n from kept"); got != 42 {
		t.Errorf("kept %d, want 42", got)
	}
}

func TestCanceledStartLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	dir := newDataDir(t)
	_, err := Start(ctx, Config{DataDir: dir, Parameters: speed, Notify: func(string) { cancel() }})
	if err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("Start: %v", err)
	}
	if isServing(t, dir) {
		t.Error("a server was left behind")
	}
	start(t, Config{DataDir: dir})
}

// queryOne returns the one value that the query answers.
func queryOne[T any](t *testing.T, url, query string) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	check(t, err)
	defer conn.Close(context.Background())
	var value T
	check(t, conn.QueryRow(t.Context(), query).Scan(&value))
	return value
}

// exec1 executes one statement.
func exec1(t *testing.T, url, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	check(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), statement)
	check(t, err)
}

// isServing reports whether postmaster.pid is there; a server removes it last.
func isServing(t *testing.T, dataDir string) bool {
	t.Helper()
	return exists(filepath.Join(dataDir, "data", "postmaster.pid"))
}

// Who only wants to use a server starts none.
func TestFindUsesAServerOfAnotherProcessOrNone(t *testing.T) {
	t.Parallel()
	dir := newUsedDir(t)
	if _, _, err := Find(t.Context(), Config{DataDir: filepath.Join(dir, "nothing")}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("where nothing is: %v", err)
	}
	server, err := Start(t.Context(), Config{DataDir: dir, Parameters: map[string]string{"fsync": "off"}})
	check(t, err)
	url, owner, err := Find(t.Context(), Config{DataDir: dir})
	check(t, err)
	if url != server.URL() || owner != os.Getpid() {
		t.Errorf("found %s of process %d, want %s of %d", url, owner, server.URL(), os.Getpid())
	}
	check(t, server.Close())
	if _, _, err := Find(t.Context(), Config{DataDir: dir}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "nothing")); err == nil {
		t.Errorf("a directory was made: %v", entries)
	}
}
