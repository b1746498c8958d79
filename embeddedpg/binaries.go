//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oldestMajor is the oldest major version that runs klingwatch's statements.
const oldestMajor = 14

// binaries is a directory with initdb and postgres of one version.
type binaries struct {
	dir   string
	major int
}

func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }
func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }

// installedPatterns are where packagers put PostgreSQL, in the order of
// preference.
var installedPatterns = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // PGDG packages for Red Hat
	"/usr/local/pgsql/bin",                               // make install
	"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew on Apple silicon
	"/usr/local/opt/postgresql@*/bin",                    // Homebrew on Intel
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
	"/usr/libexec/postgresql*",                           // Alpine
}

// search is one search for binaries that the account can run.
type search struct {
	cfg      Config
	account  account
	caches   []string           // directories that may hold fetched binaries
	major    int                // of the existing cluster, 0 if there is none
	report   func(stage string) // lets other processes know what they wait for
	rejected []string           // what was found, each with the reason why it cannot be used
}

// find returns the binaries for the cluster: installed ones in the order of
// preference, then those fetched before. A cluster needs its own major version.
// When no binaries can be used, it fetches some.
func (s *search) find(ctx context.Context) (binaries, error) {
	var others []binaries
	for _, dir := range s.candidates(ctx) {
		found, err := s.inspect(ctx, dir)
		switch {
		case ctx.Err() != nil:
			return binaries{}, fmt.Errorf("looking for PostgreSQL: %w", context.Cause(ctx))
		case err != nil && s.cfg.BinDir != "":
			return binaries{}, fmt.Errorf("using the PostgreSQL in %s: %w; give the directory of initdb and postgres, %d or newer", dir, err, oldestMajor)
		case err != nil:
			s.rejected = append(s.rejected, fmt.Sprintf("%s: %s", dir, err))
		case s.major == 0 || found.major == s.major:
			return found, nil
		default:
			others = append(others, found)
		}
	}
	if len(others) > 0 {
		newest := slices.MaxFunc(others, func(a, b binaries) int { return a.major - b.major })
		return binaries{}, fmt.Errorf("opening %s: %w: it was written by %d, and %d is installed (%s); install %d, convert the data with pg_upgrade, or choose another data directory",
			s.cfg.DataDir, ErrOtherMajor, s.major, newest.major, newest.dir, s.major)
	}
	return s.fetch(ctx)
}

// candidates lists the directories to inspect, best first.
func (s *search) candidates(ctx context.Context) []string {
	if s.cfg.BinDir != "" {
		return []string{s.cfg.BinDir}
	}
	var dirs []string
	add := func(dir string) {
		// Packagers link postgres into the PATH, but not the files it needs beside it.
		if real, err := filepath.EvalSymlinks(dir); err == nil && !slices.Contains(dirs, real) {
			dirs = append(dirs, real)
		}
	}
	places := s.cfg.onlyIn
	if places == nil {
		places = installedPatterns
		for _, dir := range onPath(ctx) {
			add(dir)
		}
	}
	for _, pattern := range places {
		for _, dir := range newestFirst(pattern) {
			add(dir)
		}
	}
	for _, cache := range s.caches {
		for _, dir := range newestFirst(filepath.Join(cache, cachePrefix+"*", "bin")) {
			add(dir)
		}
	}
	return dirs
}

// onPath returns the directories of the programs in the PATH, links resolved, and
// the one that pg_config names.
func onPath(ctx context.Context) []string {
	var dirs []string
	for _, name := range []string{"postgres", "initdb"} {
		if path, err := exec.LookPath(name); err == nil {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				dirs = append(dirs, filepath.Dir(real))
			}
		}
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	return dirs
}

// inspect returns the version of the binaries in dir, or why they cannot be used.
func (s *search) inspect(ctx context.Context, dir string) (binaries, error) {
	found := binaries{dir: dir}
	for _, path := range []string{found.initdb(), found.postgres()} {
		if _, err := os.Stat(path); err != nil {
			return found, fmt.Errorf("there is no %s", filepath.Base(path))
		}
	}
	// Run as the server's user, which also shows that this user may run it.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := s.account.run(ctx, found.postgres(), "--version")
	if err != nil {
		return found, fmt.Errorf("user %s cannot run it: %w", s.account.name, err)
	}
	found.major, err = parseMajor(out)
	if err == nil && found.major < oldestMajor {
		err = fmt.Errorf("PostgreSQL %d is too old", found.major)
	}
	return found, err
}

// majorNumber finds 15 in "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
// and 19 in "postgres (PostgreSQL) 19beta1".
var majorNumber = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// parseMajor reads the major version from the answer of postgres --version.
func parseMajor(answer string) (int, error) {
	match := majorNumber.FindStringSubmatch(answer)
	if match == nil {
		return 0, fmt.Errorf("postgres --version answered %q", strings.TrimSpace(answer))
	}
	return strconv.Atoi(match[1])
}

// firstNumber finds 16 in the "16/bin" that a * stood for.
var firstNumber = regexp.MustCompile(`\d+`)

// newestFirst expands a pattern whose * stands for a version.
func newestFirst(pattern string) []string {
	dirs, _ := filepath.Glob(pattern) // fails only for a malformed pattern
	before, _, _ := strings.Cut(pattern, "*")
	version := func(dir string) int {
		n, _ := strconv.Atoi(firstNumber.FindString(strings.TrimPrefix(dir, before)))
		return n
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	return dirs
}
