//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// directory is an opened data directory: an absolute path without symbolic
// links, so that it has the same name in all processes.
type directory struct {
	path    string
	account account
}

func (d directory) cluster() string  { return filepath.Join(d.path, "data") }
func (d directory) log() string      { return filepath.Join(d.path, "postgres.log") }
func (d directory) lock() string     { return filepath.Join(d.path, "owner.lock") }
func (d directory) password() string { return filepath.Join(d.path, "password") }
func (d directory) port() string     { return filepath.Join(d.path, "port") }

// openDirectory creates the directory or checks that an existing one is empty or
// ours, belongs to the server's user, and can be reached by that user.
func openDirectory(path string) (directory, error) {
	if err := mkdirAll(filepath.Dir(path)); err != nil {
		return directory{}, fmt.Errorf("creating the data directory: %w", err)
	}
	who, err := serverAccount(path)
	if err != nil {
		return directory{}, err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return directory{}, fmt.Errorf("creating the data directory: %w", err)
	}
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return directory{}, fmt.Errorf("opening the data directory: %w", err)
	}
	d := directory{path: path, account: who}
	if err := d.claim(); err != nil {
		return directory{}, err
	}
	return d, who.mustReach(path)
}

// claim makes the directory private to the server's user, unless it belongs to
// somebody else or contains other files.
func (d directory) claim() error {
	info, err := os.Stat(d.path)
	switch {
	case err != nil:
		return fmt.Errorf("opening the data directory: %w", err)
	case !info.IsDir():
		return fmt.Errorf("opening the data directory: %s is a file; choose a directory", d.path)
	}
	if owner := ownerOf(info); owner != d.account.uid && owner != uint32(os.Geteuid()) {
		return fmt.Errorf("opening the data directory: %s belongs to user id %d; run as that user, or choose another data directory", d.path, owner)
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("opening the data directory: %w", err)
	}
	if len(entries) > 0 && !exists(d.lock()) && !exists(d.password()) {
		return fmt.Errorf("opening the data directory: %s contains other files (%s); choose a new or empty directory", d.path, entries[0].Name())
	}
	if err := os.Chmod(d.path, 0o700); err != nil {
		return fmt.Errorf("making the data directory private: %w", err)
	}
	if err := d.account.own(d.path); err != nil {
		return fmt.Errorf("giving the data directory to user %s: %w", d.account.name, err)
	}
	return nil
}

// create opens a file of the directory for reading and writing, private to the
// server's user. Symbolic links are refused, see account.own.
func (d directory) create(path string, flags int) (*os.File, error) {
	file, err := os.OpenFile(path, flags|os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := d.account.own(path); err != nil {
		return nil, join(err, file.Close())
	}
	return file, nil
}

// write replaces a file of the directory at once: a reader sees the old or the
// new text.
func (d directory) write(path, text string) error {
	temporary := path + ".new"
	file, err := d.create(temporary, os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err := join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// exists reports whether there is something at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// readPassword returns the password, "" if there is none yet.
func (d directory) readPassword() string {
	text, err := os.ReadFile(d.password())
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// ensurePassword returns the password; a new cluster gets a random one. Only the
// owner may call it.
func (d directory) ensurePassword(newCluster bool) (string, error) {
	if password := d.readPassword(); password != "" {
		return password, nil
	}
	if !newCluster {
		return "", fmt.Errorf("reading the password of the database: %s is missing or empty; restore it, or remove %s to start with an empty database", d.password(), d.path)
	}
	password := rand.Text()
	if err := d.write(d.password(), password+"\n"); err != nil {
		return "", fmt.Errorf("writing the password of the database: %w", err)
	}
	return password, nil
}

// readPort returns the port of the last server, 0 if there was none.
func (d directory) readPort() int {
	text, err := os.ReadFile(d.port())
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || port < 1 || port > 65535 {
		return 0
	}
	return port
}

// unfinished begins the names of clusters that initdb has not completed.
const unfinished = "data.initdb-"

// major returns the major version that wrote the cluster, 0 if there is none.
func (d directory) major() (int, error) {
	if _, err := os.Stat(d.cluster()); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	text, err := os.ReadFile(filepath.Join(d.cluster(), "PG_VERSION"))
	if err != nil {
		return 0, fmt.Errorf("reading the version of the database: %w; restore %s, or remove it to start with an empty database", err, d.cluster())
	}
	// Until version 9 a major version had two numbers, as in 9.6.
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), ".")
	major, err := strconv.Atoi(first)
	if err != nil || major < 1 {
		return 0, fmt.Errorf("reading the version of the database: PG_VERSION in %s holds %q; restore it, or remove the directory to start with an empty database", d.cluster(), text)
	}
	return major, nil
}

// initialise creates the cluster. initdb works in a sibling directory that is
// renamed when it is complete, so that one killed half-way leaves only a directory
// that the next one removes. Only the owner may call it.
func (d directory) initialise(ctx context.Context, bin binaries, sync bool) error {
	leftovers, _ := filepath.Glob(filepath.Join(d.path, unfinished+"*"))
	for _, dir := range leftovers {
		// An initdb that is about to end may still write there; then the next one removes it.
		_ = os.RemoveAll(dir)
	}
	temporary, err := os.MkdirTemp(d.path, unfinished)
	if err != nil {
		return fmt.Errorf("initialising the database: %w", err)
	}
	defer os.RemoveAll(temporary)
	if err := d.account.own(temporary); err != nil {
		return fmt.Errorf("initialising the database: %w", err)
	}
	args := []string{
		"--pgdata=" + temporary,
		"--username=" + Superuser,
		"--pwfile=" + d.password(),
		"--auth=scram-sha-256",
		"--encoding=UTF8",
		"--locale=C", // the same order on every system, also after an update of libc
		"--no-instructions",
	}
	if !sync {
		args = append(args, "--no-sync")
	}
	if _, err := d.account.run(ctx, bin.initdb(), args...); err != nil {
		return fmt.Errorf("initialising the database in %s: %w", d.path, err)
	}
	if err := os.Rename(temporary, d.cluster()); err != nil {
		return fmt.Errorf("initialising the database: %w", err)
	}
	return syncDir(d.path)
}

// syncDir makes a rename in dir survive a loss of power.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	// Some file systems cannot sync a directory, and need not.
	_ = file.Sync()
	return file.Close()
}
