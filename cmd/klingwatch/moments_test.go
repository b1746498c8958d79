package main

import (
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

var manyMoments = flag.Int("moments", 1, "interrupt each command at so many of the ten moments of its start, by each signal; 1: by one of them. Which ones, depends on the day")

// moments is how many moments of a start there are, from the first to just before it is up.
const moments = 10

// starting are the lines that are interrupted while they start: those of the tables of
// trouble_test.go, which hold every command, and what else makes one start otherwise.
func starting() []string {
	return slices.Concat(onDatabase, onNone, []string{
		"serve --migrate", "serve embedded", "dev", "dev --keep DIR", "list --watch", "track --wait videos/text2video t2", "track videos/text2video < ids",
	})
}

// running tells of the commands that do not end by themselves when they have started.
var running = map[string]func(*process) bool{
	"serve": func(p *process) bool {
		listening := p.said("listening")
		return listening != nil && status("http://"+listening["addr"].(string)+"/readyz") == http.StatusOK
	},
	"dev":          func(p *process) bool { return strings.Contains(p.stdout(), "receiver  http") },
	"sim":          func(p *process) bool { return strings.Contains(p.stdout(), "simulated relay at ") },
	"list --watch": func(p *process) bool { return strings.Contains(p.stdout(), "t2") },
	"track --wait": func(p *process) bool { return strings.Contains(p.stdout(), "\tt2") },
}

// What lines say that do not end with code 0: those whose work is done already, and those
// that never do it here.
var (
	doneAlready = map[string]string{
		"retry 1": "there is nothing to retry", "cancel 2": "the task has ended already",
		"endpoints add https://app.example/hook": "is a receiver already", "endpoints remove 1 --yes": "there is no endpoint 1",
		"deliveries cancel 1": "has ended already", "bulk stop 1": "no bulk action 1 is under way",
		"relays add third https://relay.example --key-file /run/key": "there is a relay third already", "relays remove second": "there is no relay second",
	}
	inVain = map[string]string{
		"doctor": "bad     relay ", "endpoints ping 1": "connection_refused", "relays check second": "reading the key file",
		"healthcheck --url http://127.0.0.1:1": "no answer from", "api-keys revoke abcdefgh": "there is no API key",
		"outputs link 1 video": "has no video 0", "outputs fetch --to /dev/null/files": "KLINGWATCH_ARCHIVE is not set",
	}
)

// newWorld returns the URL of a database on which each command has something to do.
func newWorld(t *testing.T) string {
	t.Helper()
	databaseURL := dbtest.NewURL(t)
	for _, line := range []string{
		"relays add second http://127.0.0.1:1 --key-file /run/key",
		"endpoints add http://127.0.0.1:1/hook",
		"track videos/text2video t1 --callback-url http://127.0.0.1:1/hook",
		"cancel 1",
		"track videos/text2video t2",
		"retry --status canceled --yes",
	} {
		klingwatch(t, append(slices.Clone(anyRelay), "DATABASE_URL="+databaseURL), strings.Fields(line)...)
	}
	return databaseURL
}

// Whenever a command is interrupted while it starts, it ends soon, with one line or none,
// leaves nothing behind, and the next one works on the same data. A moment is a share of
// the time that a start takes; whatever is under way then, the same must hold.
func TestEveryCommandMayBeInterruptedAtAnyMomentOfItsStart(t *testing.T) {
	t.Parallel()
	world := newWorld(t)
	shared := dbtest.CopyURL(t, world)
	for i, line := range starting() {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			s := &start{line: line, world: world, shared: shared, tempDir: dbtest.NewDir(t)}
			s.renew(t)
			took := s.uninterrupted(t)
			try := func(moment int, signals ...syscall.Signal) {
				s.renew(t)
				for _, signal := range signals {
					s.interrupted(t, took*time.Duration(moment)/moments, signal)
				}
				if line != "dev" && line != "dev --exit" { // these keep nothing that a next one could use
					s.uninterrupted(t)
				}
			}
			if *manyMoments == 1 { // all of them occur, on one line or another
				try(i%moments, []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}[i/moments%2])
				return
			}
			for i := range min(*manyMoments, moments) {
				try((time.Now().YearDay()**manyMoments+i)%moments, syscall.SIGINT, syscall.SIGTERM)
			}
		})
	}
}

// start is a line that is started again and again.
type start struct {
	line          string
	world, shared string // a database to copy, and a copy for all that change nothing for good
	databaseURL   string
	tempDir       string
}

// renew gives the line data on which its work is not done yet.
func (s *start) renew(t *testing.T) {
	t.Helper()
	switch {
	case s.line == "migrate", s.line == "serve --migrate":
		s.databaseURL = dbtest.NewEmptyURL(t)
	case s.line == "serve", doneAlready[s.line] != "":
		s.databaseURL = dbtest.CopyURL(t, s.world)
	case s.line == "serve embedded", strings.HasPrefix(s.line, "dev"):
		s.databaseURL = ""
	default:
		s.databaseURL = s.shared
	}
	if err := os.RemoveAll(s.kept()); err != nil {
		t.Fatal(err)
	}
}

// kept is the directory whose content stays from start to start.
func (s *start) kept() string { return filepath.Join(s.tempDir, "kept") }

// launch starts the line; stdin is open until close is called.
func (s *start) launch(t *testing.T) (p *process, closeStdin func()) {
	t.Helper()
	line, _, _ := strings.Cut(s.line, " < ")
	line = strings.Replace(strings.TrimSuffix(line, " embedded"), "DIR", s.kept(), 1)
	read, write, err := os.Pipe()
	if err == nil {
		_, err = write.WriteString("t3\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	t.Cleanup(func() { write.Close() })
	env := append(slices.Clone(anyRelay), "DATABASE_URL="+s.databaseURL, "KLINGWATCH_DATA_DIR="+s.kept(), "TMPDIR="+s.tempDir, "KLINGWATCH_WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8")
	return launchReading(t, read, env, strings.Fields(line)...), func() { write.Close() }
}

// uninterrupted fails unless the line does its work, or has nothing to do any more. It
// returns how long that took, or how long the start of one that goes on.
func (s *start) uninterrupted(t *testing.T) time.Duration {
	t.Helper()
	begun := time.Now()
	p, closeStdin := s.launch(t)
	closeStdin()
	isUp := s.isUp()
	if isUp == nil {
		code, stderr := p.ended(t)
		took := time.Since(begun)
		if !s.isDone(p, code) {
			t.Errorf("%s: exit code %d:\n%s\n%s", s.line, code, p.stdout(), stderr)
		}
		s.leavesNothing(t)
		return took
	}
	await(t, s.line+" is up", func() bool { return isUp(p) || p.hasEnded() })
	took := time.Since(begun)
	if p.hasEnded() {
		t.Fatalf("%s ended by itself:\n%s", s.line, strings.Join(p.raw, "\n"))
	}
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	s.endsWell(t, p, syscall.SIGINT)
	return took
}

// interrupted sends the signal after a time, and fails unless the line stops, or had
// ended already.
func (s *start) interrupted(t *testing.T, after time.Duration, signal syscall.Signal) {
	t.Helper()
	p, _ := s.launch(t)
	select {
	case <-p.done:
	case <-time.After(after):
		_ = p.Process.Signal(signal)
	}
	s.endsWell(t, p, signal)
	if t.Failed() {
		t.Fatalf("this was %s, %s after the start", signal, after)
	}
}

// remark matches what a command may say beside its end: the log of serve, and what else
// it found.
var remark = regexp.MustCompile(`^(\{.*\}|.* is in use by another program: the \w+ listens on .*|no klingwatch serve is working on this database now; .*)$`)

// endsWell fails unless the line ended as one that was stopped by the signal, or as one
// that was not.
func (s *start) endsWell(t *testing.T, p *process, signal syscall.Signal) {
	t.Helper()
	code, stderr := p.ended(t)
	said := slices.DeleteFunc(slices.Clone(p.raw), remark.MatchString)
	ended, _ := p.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case ended.Signaled() && ended.Signal() == signal && len(p.raw) == 0 && p.stdout() == "": // it had not begun
	case code == exitError && slices.Equal(said, []string{"klingwatch: stopped"}):
	case s.isDone(p, code) && len(said) <= 1:
	default:
		t.Errorf("%s: %s, and it said:\n%s\n%s", s.line, p.ProcessState, p.stdout(), stderr)
	}
	s.leavesNothing(t)
}

func (s *start) leavesNothing(t *testing.T) {
	t.Helper()
	if left := leftBehind(s.tempDir); len(left) > 0 {
		t.Errorf("%s left behind: %q", s.line, left)
	}
}

// isUp returns what tells that the line has started; nil: it ends by itself.
func (s *start) isUp() func(*process) bool {
	for command, isUp := range running {
		if strings.HasPrefix(s.line+" ", command+" ") {
			return isUp
		}
	}
	return nil
}

// isDone tells whether the line has done its work, or said why there is none.
func (s *start) isDone(p *process, code int) bool {
	said := p.stdout() + strings.Join(p.raw, "\n")
	return code == exitOK || code == exitError && slices.ContainsFunc([]string{doneAlready[s.line], inVain[s.line]}, func(reason string) bool {
		return reason != "" && strings.Contains(said, reason)
	})
}

// leftBehind are what starts with this TMPDIR have left there that no next one needs, and the
// processes that still work there. What its directory kept holds may stay, but for what
// marks a server that runs, or is not made yet.
func leftBehind(tempDir string) (left []string) {
	kept := filepath.Join(tempDir, "kept")
	for _, pattern := range []string{"*", "kept/data.*", "kept/data/postmaster.pid", "kept/postgres/data.*", "kept/postgres/data/postmaster.pid"} {
		found, _ := filepath.Glob(filepath.Join(tempDir, pattern)) // the pattern is well formed
		left = append(left, found...)
	}
	left = slices.DeleteFunc(left, func(path string) bool { return path == kept })
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, process := range processes {
		if text, err := os.ReadFile(process); err == nil && strings.Contains(string(text), tempDir) {
			left = append(left, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return left
}
