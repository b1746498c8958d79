package archives

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
)

// place is where files are kept.
type place struct {
	contender.Archive
	store archive.Store
	dir   string // in which the store's files are, each under its key
}

// withPlace calls work with an empty place: at is disk or s3.
func withPlace(ctx context.Context, b *bench.Bench, at string, work func(place) error) error {
	return b.WithDir(func(dir string) error {
		p := place{Archive: contender.Archive{Setting: "file:", DataDir: dir}, dir: filepath.Join(dir, "archive")}
		if at == "s3" {
			gateway, err := startGateway(ctx, dir)
			if err != nil {
				return err
			}
			defer gateway.stop()
			p.Setting, p.dir = gateway.setting(), gateway.bucketDir()
		}
		var err error
		if p.store, err = archive.Open(p.Setting, p.DataDir); err != nil {
			return err
		}
		return work(p)
	})
}

// keys lists what the store holds, as the file system says.
func (p place) keys() (keys []string, err error) {
	err = filepath.WalkDir(p.dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != p.dir && strings.HasPrefix(entry.Name(), "."): // the spool, or the server's own
			return fs.SkipDir
		case entry.IsDir():
			return nil
		}
		key, err := filepath.Rel(p.dir, path)
		keys = append(keys, filepath.ToSlash(key))
		return err
	})
	slices.Sort(keys)
	return keys, err
}

// spooled returns the files that are on their way, or were left.
func (p place) spooled() ([]os.DirEntry, error) { return os.ReadDir(p.store.Spool()) }

// ageSpool makes all files of the spool old enough to be cleaned away.
func (p place) ageSpool(by time.Duration) error {
	left, err := p.spooled()
	if err != nil {
		return err
	}
	then := time.Now().Add(-by)
	for _, entry := range left {
		if err := os.Chtimes(filepath.Join(p.store.Spool(), entry.Name()), then, then); err != nil {
			return err
		}
	}
	return nil
}
