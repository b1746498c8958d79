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

// lockInterval is how often a taken lock is tried again: a blocking flock could not
// be cancelled.
const lockInterval = 150 * time.Millisecond

// serving is the stage of an owner whose server answers.
const serving = "serving"

// fileLock is a lock that the kernel frees when its process ends. The file names
// the process that holds it and what that process is doing; the text means nothing
// while the lock is free. The file is never removed, as another process may be
// waiting for it.
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

// wait takes the lock as soon as it is free, and fails when ctx ends first.
func (l fileLock) wait(ctx context.Context) error {
	for {
		if taken, err := l.try(); taken || err != nil {
			return err
		}
		if err := pause(ctx, lockInterval); err != nil {
			return err
		}
	}
}

// report writes down what this process, which holds the lock, is doing.
func (l fileLock) report(stage string) {
	text := fmt.Sprintf("%d %s\n", os.Getpid(), stage)
	// If that fails, the others lack a detail of a message, or wait until their
	// deadline and say so.
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

// release frees the lock and keeps the file open, to take the lock again.
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

// join combines errors like errors.Join, on one line.
func join(errs ...error) (all error) {
	for _, err := range errs {
		switch {
		case err == nil:
		case all == nil:
			all = err
		default:
			all = fmt.Errorf("%w; %w", all, err)
		}
	}
	return all
}
