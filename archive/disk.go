package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"
)

// disk keeps files below a directory. They get their final names by a hard link, which
// comes into being at once and replaces nothing, after their content is on the disk.
type disk struct {
	spool
	dir  string
	root *os.Root // follows no link out of dir
}

// openDisk makes the default directory with its parents. Of a directory that a person
// named it makes the last part only: the rest may be a disk that is not mounted.
func openDisk(dir string, parents bool) (*disk, error) {
	mkdir := os.Mkdir
	if parents {
		mkdir = os.MkdirAll
	}
	if err := mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, diskTrouble("make its directory", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, diskTrouble("open its directory", dir, err)
	}
	spool, err := openSpool(filepath.Join(dir, ".spool"))
	if err != nil {
		return nil, err
	}
	return &disk{spool: spool, dir: dir, root: root}, nil
}

// String names the directory.
func (d *disk) String() string { return "file:" + d.dir }

// Put links the file of the spool to its final name.
func (d *disk) Put(ctx context.Context, key string, local *os.File, about Info) error {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return err
	}
	if err := checkSize(local, about); err != nil {
		return err
	}
	return diskTrouble("keep "+key, d.dir, d.put(ctx, key, local, about.Size))
}

func (d *disk) put(ctx context.Context, key string, local *os.File, size int64) error {
	name, made, err := d.spooled(ctx, local)
	if made {
		defer func() { _ = d.root.Remove(name) }() // else CleanSpool will
	}
	if err != nil {
		return err
	}
	if err := d.link(name, key); err != nil {
		return err
	}
	// also where another process made the name: it may not have come this far
	if err := d.syncFolders(key); err != nil {
		return err
	}
	kept, err := d.root.Lstat(key)
	if err != nil {
		return err
	}
	if !kept.Mode().IsRegular() || kept.Size() != size {
		return taken(key, kept.Size(), size)
	}
	return nil
}

// spooled returns the name of a file of the spool, seen from root, whose content is on
// the disk: the local file itself, or a copy of a file from elsewhere.
func (d *disk) spooled(ctx context.Context, local *os.File) (name string, made bool, err error) {
	name = path.Join(".spool", filepath.Base(local.Name()))
	ready := local
	if !d.holds(name, local) {
		if ready, err = os.CreateTemp(d.spool.dir, "copy-"); err != nil {
			return "", false, err
		}
		defer ready.Close()
		name, made = path.Join(".spool", filepath.Base(ready.Name())), true
		whole := io.NewSectionReader(local, 0, 1<<62)
		if _, err := io.Copy(ready, cancelable{ctx, whole}); err != nil {
			return name, made, err
		}
	}
	if err := ready.Chmod(fileMode); err != nil {
		return name, made, err
	}
	return name, made, ready.Sync()
}

// holds reports whether the spool has the local file under a name.
func (d *disk) holds(name string, local *os.File) bool {
	there, err := d.root.Lstat(name)
	if err != nil {
		return false
	}
	here, err := local.Stat()
	return err == nil && os.SameFile(there, here)
}

// link gives a file its final name, if it is free. Remove may take an empty folder away
// meanwhile: then it is made again.
func (d *disk) link(name, key string) (err error) {
	for range 10 {
		err = d.root.MkdirAll(path.Dir(key), dirMode)
		if err == nil {
			if err = d.root.Link(name, key); errors.Is(err, fs.ErrExist) {
				return nil
			}
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("its file in the spool was removed; fetch it again")
	case errors.Is(err, syscall.EPERM), errors.Is(err, errors.ErrUnsupported):
		return errors.New("this file system makes no hard links; let KLINGWATCH_ARCHIVE name a directory on another one")
	}
	return err
}

// syncFolders writes the names of a file and of all its folders to the disk. Those that
// are there already cost nothing.
func (d *disk) syncFolders(key string) error {
	for folder := path.Dir(key); ; folder = path.Dir(folder) {
		if err := d.syncFolder(folder); err != nil || folder == "." {
			return err
		}
	}
}

func (d *disk) syncFolder(folder string) error {
	dir, err := d.root.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Open opens the file.
func (d *disk) Open(ctx context.Context, key string) (Content, error) {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return Content{}, err
	}
	file, err := d.root.Open(key)
	if err != nil {
		return Content{}, d.readTrouble(key, err)
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		file.Close()
		return Content{}, d.readTrouble(key, cmp.Or(err, fs.ErrNotExist))
	}
	return Content{ReadSeekCloser: file, Size: info.Size()}, nil
}

// Stat asks the file system.
func (d *disk) Stat(ctx context.Context, key string) (Info, error) {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return Info{}, err
	}
	info, err := d.root.Lstat(key)
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Info{}, d.readTrouble(key, err)
	}
	return Info{Size: info.Size()}, nil
}

func (d *disk) readTrouble(key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %s in %s", ErrNotFound, key, d.dir)
	}
	return diskTrouble("read "+key, d.dir, err)
}

// Remove removes the file and the folders that it leaves empty.
func (d *disk) Remove(ctx context.Context, key string) error {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return err
	}
	if _, err := d.Stat(ctx, key); errors.Is(err, ErrNotFound) {
		return nil
	}
	err := d.root.Remove(key)
	if err == nil {
		err = d.syncFolder(path.Dir(key))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskTrouble("remove "+key, d.dir, err)
	}
	for folder := path.Dir(key); folder != "." && d.root.Remove(folder) == nil; folder = path.Dir(folder) {
	}
	return nil
}

// Link returns none: only klingwatch itself can read the disk.
func (d *disk) Link(_ context.Context, key string, _ time.Duration, _, _ string) (string, error) {
	return "", checkKey(key)
}

// Check tells the free space.
func (d *disk) Check(ctx context.Context) (Health, error) {
	if err := tryOut(ctx, d); err != nil {
		return Health{}, err
	}
	free, isKnown := FreeSpace(d.dir)
	if !isKnown {
		free = -1
	}
	return Health{Free: free}, nil
}

// CleanSpool removes old files of the spool.
func (d *disk) CleanSpool(ctx context.Context, olderThan time.Duration) (int, error) {
	return d.clean(ctx, olderThan)
}
