package dbtest

import (
	"os"
	"path/filepath"
	"syscall"
)

const (
	// memory is a file system in memory. A test's database is made there in 30 ms
	// instead of 300 ms.
	memory = "/dev/shm"
	// memoryNeeded is several times what the tests of a package use. In a container
	// there is often less.
	memoryNeeded = 4 << 30
)

// newDir makes the directory of the server: in memory where there is plenty, else, or
// with TMPDIR set, where temporary files belong. unlock releases it at the end.
func newDir() (dir string, unlock func(), err error) {
	var free syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(memory, &free) != nil || free.Bavail*uint64(free.Bsize) < memoryNeeded {
		return tempDir()
	}
	removeAbandoned()
	// It gets the name by which others find it when it is locked already.
	unlocked, err := os.MkdirTemp(memory, "new-klingwatch-dbtest-")
	if err != nil {
		return "", nil, err
	}
	lock, err := lockDir(unlocked)
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(memory, filepath.Base(unlocked)[len("new-"):])
	return dir, func() { _ = lock.Close() }, os.Rename(unlocked, dir)
}

// removeAbandoned deletes what test processes left in memory that were killed.
func removeAbandoned() {
	dirs, _ := filepath.Glob(memory + "/klingwatch-dbtest-*") // the pattern is well formed
	for _, dir := range dirs {
		if file, err := lockDir(dir); err == nil {
			_ = os.RemoveAll(dir)
			_ = file.Close()
		}
	}
}

// lockDir locks a directory until the file is closed. It returns an error where
// another process has locked it.
func lockDir(dir string) (*os.File, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}
