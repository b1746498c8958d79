//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	fetcher "github.com/fergusstrange/embedded-postgres"
)

const (
	// cachePrefix begins the names of fetched versions in the cache.
	cachePrefix = "postgresql-"

	// partial begins the names of versions that are being fetched.
	partial = "partial-"

	// fetchLimit bounds one fetch of about 30 MB, and the wait for another process
	// that fetches.
	fetchLimit = 10 * time.Minute

	// defaultMajor is fetched for a new cluster.
	defaultMajor = 18
)

// fetchable are the newest versions that the fetcher knows.
var fetchable = map[int]fetcher.PostgresVersion{
	18: fetcher.V18,
	17: fetcher.V17,
	16: fetcher.V16,
	15: fetcher.V15,
	14: fetcher.V14,
}

// isFetching reports whether a stage of an owner is a fetch.
func isFetching(stage string) bool { return strings.HasPrefix(stage, "fetching") }

// fetch gets the binaries into the cache, once for all processes that need them,
// and returns them.
func (s *search) fetch(ctx context.Context) (binaries, error) {
	major := s.major
	if major == 0 {
		major = defaultMajor
	}
	version, known := fetchable[major]
	if !known {
		return binaries{}, s.missing(major, errors.New("that version cannot be fetched"))
	}
	s.report(fmt.Sprintf("fetching PostgreSQL %d", major))
	defer s.report("starting")
	limited, cancel := context.WithTimeoutCause(ctx, fetchLimit, fmt.Errorf("it took more than %s", fetchLimit))
	defer cancel()
	home, err := s.fetchOnce(limited, version)
	if ctx.Err() != nil {
		return binaries{}, fmt.Errorf("fetching PostgreSQL %d: %w", major, context.Cause(ctx))
	}
	if err != nil {
		return binaries{}, s.missing(major, err)
	}
	found, err := s.inspect(ctx, filepath.Join(home, "bin"))
	if err != nil {
		return binaries{}, s.missing(major, fmt.Errorf("the one in %s does not run: %w; remove that directory to fetch it again", home, err))
	}
	return found, nil
}

// openCache locks the first cache directory that can be used.
func (s *search) openCache(ctx context.Context) (string, fileLock, error) {
	var problems error
	for _, cache := range s.caches {
		err := mkdirAll(cache)
		if err == nil {
			err = s.account.mustReach(filepath.Join(cache, "bin"))
		}
		var file *os.File
		if err == nil {
			file, err = os.OpenFile(filepath.Join(cache, "fetch.lock"), os.O_RDWR|os.O_CREATE, 0o600)
		}
		if err != nil {
			problems = join(problems, err)
			continue
		}
		lock := fileLock{file}
		if err := lock.wait(ctx); err != nil {
			return "", lock, join(fmt.Errorf("waiting for another process that fetches: %w", err), lock.close())
		}
		return cache, lock, nil
	}
	return "", fileLock{}, problems
}

// fetchOnce returns the directory of the unpacked version in the cache, which it
// fills unless another process has done so meanwhile. The fetcher takes no context:
// when ours ends, the fetch goes on in the background and keeps the lock, so that
// no other process removes what it still writes. Each fetch leaves an empty log in
// the directory for temporary files.
func (s *search) fetchOnce(ctx context.Context, version fetcher.PostgresVersion) (string, error) {
	cache, lock, err := s.openCache(ctx)
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, fmt.Sprintf("%s%s-%s-%s", cachePrefix, version, runtime.GOOS, runtime.GOARCH))
	ended := make(chan error, 1)
	go func() {
		err := s.fill(cache, home, version)
		ended <- join(err, lock.close())
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case err := <-ended:
		return home, err
	}
}

// fill makes home a complete version, or does not create it. The caller holds the
// lock of the cache.
func (s *search) fill(cache, home string, version fetcher.PostgresVersion) (err error) {
	defer func() {
		// The fetcher panics when it cannot clean up, as on a full disk.
		if reason := recover(); reason != nil {
			err = fmt.Errorf("unpacking it: %v", reason)
		}
	}()
	if exists(home) {
		return nil
	}
	leftovers, _ := filepath.Glob(filepath.Join(cache, partial+"*"))
	for _, dir := range leftovers {
		_ = os.RemoveAll(dir) // of a fetch that was killed
	}
	temporary, err := os.MkdirTemp(cache, partial)
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	s.cfg.notifyf("fetching PostgreSQL %s into %s (about 30 MB, once)", version, cache)
	unpacked, err := s.download(version, temporary)
	if err != nil {
		return err
	}
	if err := openToAll(unpacked); err != nil {
		return fmt.Errorf("opening the binaries to the server's user: %w", err)
	}
	return os.Rename(unpacked, home)
}

// download makes the fetcher download, verify and unpack a version without running
// it, which it would do as root and without our guarantees. Its API has one method
// for everything, which creates a runtime directory after unpacking, then removes
// the data directory and calls initdb. We name a data directory that cannot be
// removed (os.RemoveAll refuses a path that ends in a dot), so that it gives up
// there and starts nothing. It always returns an error; whether the archive was
// unpacked completely shows in the runtime directory.
func (s *search) download(version fetcher.PostgresVersion, temporary string) (unpacked string, err error) {
	unpacked = filepath.Join(temporary, "unpacked")
	runtimeDir := filepath.Join(temporary, "runtime")
	config := fetcher.DefaultConfig().
		Version(version).
		Port(0). // it requires a free port
		CachePath(filepath.Join(temporary, "archive")).
		RuntimePath(runtimeDir).
		BinariesPath(unpacked).
		DataPath(filepath.Join(temporary, "none") + "/.").
		Logger(io.Discard)
	if s.cfg.RepositoryURL != "" {
		config = config.BinaryRepositoryURL(strings.TrimRight(s.cfg.RepositoryURL, "/"))
	}
	err = fetcher.NewDatabase(config).Start()
	if !exists(runtimeDir) {
		return "", err
	}
	for _, path := range []string{"bin/initdb", "bin/postgres"} {
		if !exists(filepath.Join(unpacked, path)) {
			return "", fmt.Errorf("the archive holds no %s", path)
		}
	}
	return unpacked, nil
}

// openToAll lets everybody read and run what was unpacked, whatever the umask: root
// unpacks it, but another user runs it.
func openToAll(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if entry.IsDir() || mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode)
	})
}

// repositoryAddress finds the host in an error of the fetcher, a detail that means
// nothing to a person who did not choose it.
var repositoryAddress = regexp.MustCompile(`https?://\S+`)

// missing returns the error for a machine without PostgreSQL.
func (s *search) missing(major int, why error) error {
	reason := oneLine{why}.Error()
	if s.cfg.RepositoryURL == "" {
		reason = repositoryAddress.ReplaceAllString(reason, "the repository")
	}
	found := ""
	if len(s.rejected) > 0 {
		found = " (rejected " + strings.Join(s.rejected, ", ") + ")"
	}
	wanted := fmt.Sprintf("version %d or newer", oldestMajor)
	if s.major != 0 {
		wanted = fmt.Sprintf("version %d, which wrote %s,", s.major, s.cfg.DataDir)
	}
	return fmt.Errorf("finding PostgreSQL: %w of %s in PATH, by pg_config or in the usual places%s, and fetching PostgreSQL %d failed: %s; "+
		"install it (apt install postgresql, or brew install postgresql@%[4]d), "+
		"or start one (docker run -d -p 127.0.0.1:5432:5432 -e POSTGRES_PASSWORD=klingwatch postgres:%[4]d) "+
		"and set DATABASE_URL=postgres://postgres:klingwatch@127.0.0.1:5432/postgres",
		ErrNoBinaries, wanted, found, major, reason)
}
