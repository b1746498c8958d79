package embeddedpg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Superuser is the role that URL signs in as; initdb creates it.
const Superuser = "klingwatch"

// Config says where the server keeps its data and how it is started.
type Config struct {
	// DataDir is required. It is created with mode 0700 and belongs to the user
	// who runs the server. A directory that contains other files is refused.
	DataDir string

	// BinDir is the directory of initdb and postgres, version 14 or newer. Empty:
	// Start looks for them, and fetches them when there are none.
	BinDir string

	// CacheDir is where fetched binaries are kept, for all processes that use the
	// directory: one of them fetches, the others wait. The server's user must be
	// able to enter it. Empty: klingwatch/postgres in the user's cache directory
	// (os.UserCacheDir; /var/cache for root), or where that cannot be used,
	// DataDir + "-binaries", or else DataDir/binaries.
	CacheDir string

	// RepositoryURL is where binaries are fetched from, without a slash at the
	// end. Empty: the default of the fetching library.
	RepositoryURL string

	// Parameters are settings of the server, such as "max_connections": "300".
	// They cannot override those that keep the server private. Only the parameters
	// of the process that owns the server count. "fsync": "off" makes initdb skip
	// its final sync as well.
	Parameters map[string]string

	// Database is created if it is missing. Empty: "klingwatch".
	Database string

	// Alone refuses a directory that another process uses, with ErrInUse, instead of sharing
	// its server.
	Alone bool

	// Notify, if set, is called with one line for people about each step that
	// takes long or may surprise them. It is called from several goroutines, also
	// after Start has returned.
	Notify func(message string)

	// onlyIn replaces the places where Start looks for binaries; tests use it to
	// imitate a machine without PostgreSQL.
	onlyIn []string
}

// ErrNoBinaries is the error of Start when PostgreSQL is not installed and could
// not be fetched. Its text says what to install.
var ErrNoBinaries = errors.New("no initdb and postgres")

// ErrOtherMajor is the error of Start when the data directory was written by
// a major version of PostgreSQL that is not installed.
var ErrOtherMajor = errors.New("another major version of PostgreSQL")

// ErrNotRunning is the error of Find when no process runs a server on the data
// directory.
var ErrNotRunning = errors.New("no process runs PostgreSQL on the data directory")

// ErrInUse is the error of Start for Config.Alone when another process uses the data
// directory.
var ErrInUse = errors.New("it is in use")

// DefaultDataDir returns the data directory of this user: klingwatch/postgres in
// /var/lib for root, since the server's user must be able to enter it; in
// ~/Library/Application Support on macOS; else in XDG_DATA_HOME or ~/.local/share.
// It fails when the home directory is unknown.
func DefaultDataDir() (string, error) {
	const name = "klingwatch/postgres"
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib", name), nil
	}
	// The XDG specification says that relative paths are to be ignored.
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("choosing a data directory: %w; set one", err)
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", name), nil
	}
	return filepath.Join(home, ".local", "share", name), nil
}

// withDefaults fills in what the caller left out.
func (c Config) withDefaults() (Config, error) {
	if c.DataDir == "" {
		return c, errors.New("starting PostgreSQL: no data directory given")
	}
	for _, dir := range []*string{&c.DataDir, &c.BinDir, &c.CacheDir} {
		if *dir == "" {
			continue
		}
		abs, err := filepath.Abs(*dir) // PostgreSQL works in another directory
		if err != nil {
			return c, fmt.Errorf("starting PostgreSQL: %w", err)
		}
		*dir = abs
	}
	if c.Database == "" {
		c.Database = "klingwatch"
	}
	if c.Notify == nil {
		c.Notify = func(string) {}
	}
	return c, nil
}

// notifyf calls Notify with a formatted line.
func (c Config) notifyf(format string, args ...any) { c.Notify(fmt.Sprintf(format, args...)) }
