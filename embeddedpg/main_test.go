//go:build unix && !aix && !solaris

package embeddedpg

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// testRoot holds the data directories of the tests. Unlike t.TempDir, other
// users may enter it, which a server started by root needs.
var testRoot string

// speed is for data that need not survive a loss of power.
var speed = map[string]string{
	"fsync":              "off",
	"synchronous_commit": "off",
	"full_page_writes":   "off",
	"max_connections":    "20",
	"shared_buffers":     "8MB",
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("EMBEDDEDPG_TEST_DATA_DIR"); dir != "" {
		os.Exit(beOtherProcess(dir))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	root, err := os.MkdirTemp("", "embeddedpg-test-")
	if err == nil {
		err = os.Chmod(root, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	testRoot = root
	defer os.RemoveAll(root)
	_ = os.Setenv("TMPDIR", root) // the fetcher leaves a file there
	if err := copyThisProgram(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections() // of the fetcher
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// beOtherProcess is what this program does as a child of a test: it starts the
// server, prints how that went, and closes it when its standard input ends.
func beOtherProcess(dir string) int {
	cfg := Config{
		DataDir:    dir,
		Parameters: speed,
		Notify:     func(message string) { fmt.Println("notify", message) },
	}
	if cfg.RepositoryURL = os.Getenv("EMBEDDEDPG_TEST_REPOSITORY"); cfg.RepositoryURL != "" {
		cfg.onlyIn = nowhere
	}
	server, err := Start(context.Background(), cfg)
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("ready", server.Owner(), server.URL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := server.Close(); err != nil {
		fmt.Println("error", err)
		return 1
	}
	return 0
}

// process is another process on a data directory.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	ready chan struct{} // closed after "ready" or the end of its output

	mu     sync.Mutex
	output []string
}

// startProcess starts another process on the data directory as the user with
// this id, or as our own if uid is negative; env comes on top of our environment.
func startProcess(t *testing.T, dataDir string, uid int, env ...string) *process {
	t.Helper()
	cmd := exec.Command(otherProgram())
	cmd.Env = append(append(os.Environ(), "EMBEDDEDPG_TEST_DATA_DIR="+dataDir), env...)
	cmd.Dir = "/"
	if uid >= 0 && uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	check(t, err)
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	p := &process{t: t, cmd: cmd, stdin: stdin, ready: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(stdout)
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		<-read
		_ = cmd.Wait()
	})
	return p
}

// read collects the output of the process until it ends.
func (p *process) read(stdout io.Reader) {
	var once sync.Once
	isReady := func() { once.Do(func() { close(p.ready) }) }
	defer isReady()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		p.mu.Lock()
		p.output = append(p.output, lines.Text())
		p.mu.Unlock()
		if strings.HasPrefix(lines.Text(), "ready ") {
			isReady()
		}
	}
}

// says returns the lines of its output that begin with the word.
func (p *process) says(word string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	for _, line := range p.output {
		if rest, found := strings.CutPrefix(line, word+" "); found {
			lines = append(lines, rest)
		}
	}
	return lines
}

// waitReady waits until its server answers and returns whether it is the
// owner, and the URL.
func (p *process) waitReady() (owner bool, url string) {
	p.t.Helper()
	select {
	case <-p.ready:
	case <-time.After(patience):
		p.t.Fatalf("the other process is not ready: %q", p.output)
	}
	lines := p.says("ready")
	if len(lines) == 0 {
		p.t.Fatalf("the other process failed: %q", p.output)
	}
	word, url, _ := strings.Cut(lines[0], " ")
	return word == "true", url
}

// kill ends it with SIGKILL.
func (p *process) kill() {
	p.t.Helper()
	check(p.t, p.cmd.Process.Kill())
}

// close makes it call Close and end.
func (p *process) close() {
	p.t.Helper()
	check(p.t, p.stdin.Close())
}

// patience is how long a test waits for what should come much sooner.
const patience = 30 * time.Second

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("still not so after %s: %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// otherProgram is a copy of this program that every user can run; the one that
// go test built is in a private directory.
func otherProgram() string { return filepath.Join(testRoot, "other-process") }

// copyThisProgram makes otherProgram, before any test starts a child that would
// inherit the open file and keep it from being run.
func copyThisProgram() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	return os.WriteFile(otherProgram(), program, 0o755)
}

// newDataDir returns a path that does not exist yet, and can be reached by
// every user.
func newDataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(testRoot, "data-")
	check(t, err)
	check(t, os.Chmod(dir, 0o755))
	return filepath.Join(dir, "pg")
}

// used is a data directory that has had a server once: what most tests begin with. Making one
// takes most of a test's time.
var used = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(testRoot, "used")
	server, err := Start(context.Background(), Config{DataDir: dir, Parameters: speed})
	if err != nil {
		return "", err
	}
	if err := server.Close(); err != nil {
		return "", err
	}
	return dir, os.Remove(filepath.Join(dir, "port")) // each copy has a port of its own
})

// newUsedDir returns a data directory that has had a server.
func newUsedDir(t *testing.T) string {
	t.Helper()
	from, err := used()
	check(t, err)
	dir := newDataDir(t)
	check(t, exec.Command("cp", "-a", from, dir).Run())
	return dir
}

// start starts the server for the length of the test.
func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	if cfg.Parameters == nil {
		cfg.Parameters = speed
	}
	if cfg.Notify == nil {
		cfg.Notify = func(message string) { t.Log(message) }
	}
	server, err := Start(t.Context(), cfg)
	check(t, err)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// serverPid returns the process of the server in the data directory.
func serverPid(t *testing.T, dataDir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dataDir, "data", "postmaster.pid"))
	check(t, err)
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	check(t, err)
	return pid
}

// ordinaryUser returns the id of a user who is not root and owns dir: our own
// unless we are root.
func ordinaryUser(t *testing.T, dir string) (uid int) {
	t.Helper()
	if uid = os.Geteuid(); uid == 0 {
		uid = uidOf(t, "nobody")
		check(t, os.Chown(dir, uid, uid))
	}
	return uid
}

// uidOf returns the id of a user.
func uidOf(t *testing.T, name string) int {
	t.Helper()
	found, err := user.Lookup(name)
	check(t, err)
	uid, err := strconv.Atoi(found.Uid)
	check(t, err)
	return uid
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
