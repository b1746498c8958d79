package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// fakeTimeLibraries is where packagers put libfaketime.
var fakeTimeLibraries = []string{
	"/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1", "/usr/lib64/faketime/libfaketime.so.1",
	"/usr/local/lib/faketime/libfaketime.so.1",
}

// errNoFakeTime is why there are no clock steps.
var errNoFakeTime = errors.New("libfaketime is not installed (Debian: apt install faketime)")

// serverClock is the clock of Postgres: libfaketime adds what a file says to the
// true time.
type serverClock struct {
	library string
	file    string
}

// findClock looks for libfaketime; the file is in dir.
func findClock(dir string) (*serverClock, error) {
	for _, pattern := range fakeTimeLibraries {
		found, _ := filepath.Glob(pattern) // fails only for a malformed pattern
		if len(found) > 0 {
			c := &serverClock{library: found[0], file: filepath.Join(dir, "clock")}
			return c, c.set(0)
		}
	}
	return nil, errNoFakeTime
}

// env makes a server use the clock; a nil clock is the true one.
func (c *serverClock) env() []string {
	if c == nil {
		return nil
	}
	return []string{"LD_PRELOAD=" + c.library, "FAKETIME_TIMESTAMP_FILE=" + c.file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"}
}

// set steps the clock to a distance from the true time, at once for all processes.
func (c *serverClock) set(offset time.Duration) error {
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

// check steps the clock of a server and looks whether it follows.
func (c *serverClock) check(ctx context.Context, s *server) error {
	for _, offset := range []time.Duration{time.Hour, 0} {
		if err := c.set(offset); err != nil {
			return err
		}
		now, err := s.now(ctx)
		if err != nil {
			return err
		}
		if off := now.Sub(time.Now()) - offset; off.Abs() > time.Minute {
			return fmt.Errorf("%s does not change the clock of Postgres", c.library)
		}
	}
	return nil
}
