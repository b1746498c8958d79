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

// Config says where the server lives and what it is started with.
type Config struct {
	// DataDir is required. It is created with mode 0700 and belongs to the
	// user who runs the server. A directory that holds other things is refused.
	DataDir string

	// BinDir is the directory of initdb and postgres, 14 or newer. Empty: they
	// are searched for, and fetched when there are none.
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
	// Those that keep the server private win over them. Only the parameters of
	// the process that owns the server count. "fsync": "off" makes initdb skip
	// its final sync, too.
	Parameters map[string]string

	// Database is created if it is missing. Empty: "klingwatch".
	Database string

	// Notify, when set, tells a person about steps that take long or surprise.
	// It is called from several goroutines, also after Start.
	Notify func(message string)

	// onlyIn replaces the places where binaries are searched for; tests make a
	// machine without PostgreSQL of it.
	onlyIn []string
}

// ErrNoBinaries is the error of Start when PostgreSQL is neither installed nor
// could be fetched. The text says what to install.
var ErrNoBinaries = errors.New("no initdb and postgres")

// ErrOtherMajor is the error of Start when the data directory was written by
// a major version of PostgreSQL that is not at hand.
var ErrOtherMajor = errors.New("another major version of PostgreSQL")

// DefaultDataDir returns the data directory of this user: below
// /var/lib for root, since the server's user must be able to enter it, below
// ~/Library/Application Support on macOS, and otherwise below XDG_DATA_HOME or
// ~/.local/share. It fails when the home directory is unknown.
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
		return "", fmt.Errorf("finding a place for the database: %w; set a data directory", err)
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

// notifyf tells the person.
func (c Config) notifyf(format string, args ...any) { c.Notify(fmt.Sprintf(format, args...)) }
