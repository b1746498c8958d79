//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// unfinished begins the names of clusters that initdb has not completed.
const unfinished = "data.initdb-"

// major returns the major version that wrote the cluster, 0 if there is none.
func (d directory) major() (int, error) {
	if _, err := os.Stat(d.cluster()); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	text, err := os.ReadFile(filepath.Join(d.cluster(), "PG_VERSION"))
	if err != nil {
		return 0, fmt.Errorf("reading the version of the database: %w; restore %s, or remove it to begin with an empty database", err, d.cluster())
	}
	// Up to version 9 a major was written with a minor, as in 9.6.
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), ".")
	major, err := strconv.Atoi(first)
	if err != nil || major < 1 {
		return 0, fmt.Errorf("reading the version of the database: PG_VERSION in %s holds %q; restore it, or remove the directory to begin with an empty database", d.cluster(), text)
	}
	return major, nil
}

// initialise creates the cluster. initdb works in a sibling directory that is
// renamed when it is complete, so that one killed half-way leaves only litter,
// which the next one removes. Only the owner may call it.
func (d directory) initialise(ctx context.Context, bin binaries, sync bool) error {
	litter, _ := filepath.Glob(filepath.Join(d.path, unfinished+"*"))
	for _, dir := range litter {
		// A dying initdb may still write there; then the next try removes it.
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
		"--locale=C", // sorts alike on every system and survives updates of libc
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
	// Some file systems cannot sync a directory; then there is nothing to do.
	_ = file.Sync()
	return file.Close()
}
