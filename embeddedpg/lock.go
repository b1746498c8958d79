//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lockPatience is how often a taken lock is asked for: a blocking flock could
// not be cancelled.
const lockPatience = 150 * time.Millisecond

// serving is the stage of an owner whose server answers.
const serving = "serving"

// fileLock is a lock that the kernel frees when its process ends. The text of
// the file tells the others who holds it and how far the holder is; it means
// nothing while the lock is free. The file itself is never removed, as another
// process may already wait for it.
type fileLock struct{ file *os.File }

// try takes the lock, or reports false at once when another holds it.
func (l fileLock) try() (bool, error) {
	for {
		err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, fmt.Errorf("locking %s: %w", l.file.Name(), err)
		}
	}
}

// wait takes the lock as soon as it is free. It fails when ctx ends first.
func (l fileLock) wait(ctx context.Context) error {
	for {
		if taken, err := l.try(); taken || err != nil {
			return err
		}
		if err := pause(ctx, lockPatience); err != nil {
			return err
		}
	}
}

// tell records the stage of this process, which holds the lock.
func (l fileLock) tell(stage string) {
	text := fmt.Sprintf("%d %s\n", os.Getpid(), stage)
	// Failing to record it costs the others only a detail of a message, or
	// makes them wait until their deadline and say so.
	if _, err := l.file.WriteAt([]byte(text), 0); err == nil {
		_ = l.file.Truncate(int64(len(text)))
	}
}

// holder returns the process that holds the lock and its stage.
func (l fileLock) holder() (pid int, stage string) {
	text := make([]byte, 200)
	n, _ := l.file.ReadAt(text, 0)
	line, _, _ := strings.Cut(string(text[:n]), "\n")
	first, stage, _ := strings.Cut(line, " ")
	pid, _ = strconv.Atoi(first)
	return pid, stage
}

// release frees the lock and keeps the file open for another try.
func (l fileLock) release() error { return syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN) }

// close frees the lock for good.
func (l fileLock) close() error { return l.file.Close() }

// pause waits for d, or fails with the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
