package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	dirMode  = 0o750
	fileMode = 0o640
)

// spool is the directory for files on their way.
type spool struct{ dir string }

func openSpool(dir string) (spool, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return spool{}, diskTrouble("make the directory "+dir, filepath.Dir(dir), err)
	}
	return spool{dir}, nil
}

// Spool is the directory.
func (s spool) Spool() string { return s.dir }

// clean goes by age alone: a download or upload that moves writes or ends much sooner,
// locks would not be seen from other machines, and where a process was stopped for
// hours, its Put finds its file gone and fails, and the file is fetched again.
func (s spool) clean(ctx context.Context, olderThan time.Duration) (removed int, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, diskTrouble("list its spool", s.dir, err)
	}
	for _, entry := range entries {
		if ctx.Err() != nil {
			return removed, ctx.Err()
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || time.Since(info.ModTime()) < olderThan) {
			continue
		}
		if err == nil {
			err = os.Remove(filepath.Join(s.dir, entry.Name()))
		}
		switch {
		case err == nil:
			removed++
		case !errors.Is(err, fs.ErrNotExist): // another process cleans as well
			return removed, diskTrouble("clean its spool", s.dir, err)
		}
	}
	return removed, nil
}

// checkSize compares the local file with what the caller says of it.
func checkSize(local *os.File, about Info) error {
	info, err := local.Stat()
	if err != nil {
		return diskTrouble("read the file to be archived", filepath.Dir(local.Name()), err)
	}
	if info.Size() != about.Size {
		return altered(local.Name(), info.Size(), about.Size)
	}
	return nil
}

// cancelable ends reads with a context.
type cancelable struct {
	ctx  context.Context
	from io.Reader
}

func (c cancelable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.from.Read(p)
}
