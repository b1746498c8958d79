package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// fakeTimeLibraries is where packagers put libfaketime.
var fakeTimeLibraries = []string{
	"/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1", "/usr/lib64/faketime/libfaketime.so.1",
	"/usr/local/lib/faketime/libfaketime.so.1",
}

// errNoFakeTime is why there are no clock steps.
var errNoFakeTime = errors.New("libfaketime is not installed (Debian: apt install faketime)")

// Clock is the clock of Postgres: libfaketime adds what a file says to the
// true time.
type Clock struct {
	library string
	file    string
}

// FindClock looks for libfaketime; the file is in dir.
func FindClock(dir string) (*Clock, error) {
	for _, pattern := range fakeTimeLibraries {
		found, _ := filepath.Glob(pattern) // fails only for a malformed pattern
		if len(found) > 0 {
			c := &Clock{library: found[0], file: filepath.Join(dir, "clock")}
			return c, c.Set(0)
		}
	}
	return nil, errNoFakeTime
}

// env makes a server use the clock; a nil clock is the true one.
func (c *Clock) env() []string {
	if c == nil {
		return nil
	}
	return []string{"LD_PRELOAD=" + c.library, "FAKETIME_TIMESTAMP_FILE=" + c.file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"}
}

// Set steps the clock to a distance from the true time, at once for all processes.
func (c *Clock) Set(offset time.Duration) error {
	fresh := c.file + ".new"
	err := os.WriteFile(fresh, fmt.Appendf(nil, "%+d\n", int64(offset.Seconds())), 0o644)
	if err == nil {
		err = os.Chmod(fresh, 0o644) // whatever the umask: the server's user reads it
	}
	if err == nil {
		err = os.Rename(fresh, c.file)
	}
	if err != nil {
		return fmt.Errorf("stepping the clock of Postgres: %w", err)
	}
	return nil
}

// Check steps the clock of a server and looks whether it follows.
func (c *Clock) Check(ctx context.Context, s *Server) error {
	for _, offset := range []time.Duration{time.Hour, 0} {
		if err := c.Set(offset); err != nil {
			return err
		}
		var now time.Time
		err := s.AsAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
			now, err = clockOf(ctx, conn)
			return err
		})
		if err != nil {
			return err
		}
		if off := time.Until(now) - offset; off.Abs() > time.Minute {
			return fmt.Errorf("%s does not change the clock of Postgres", c.library)
		}
	}
	return nil
}
