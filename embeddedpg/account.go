//go:build unix && !aix && !solaris

package embeddedpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user of the operating system who runs initdb and postgres.
type account struct {
	name     string
	uid, gid uint32
	drop     bool // we are root and must become this user
}

// serverAccount picks the user for the data directory dir. An ordinary user
// stays what it is. Root becomes the owner of an existing directory, so that
// root and that user can share it, else postgres, else nobody.
func serverAccount(dir string) (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{name: strconv.Itoa(uid), uid: uint32(uid), gid: uint32(os.Getegid())}, nil
	}
	if info, err := os.Stat(dir); err == nil {
		if uid := ownerOf(info); uid != 0 {
			found, err := user.LookupId(strconv.Itoa(int(uid)))
			if err != nil {
				return account{}, fmt.Errorf("looking up the owner of %s: %w; PostgreSQL runs only as a user listed in /etc/passwd", dir, err)
			}
			return droppedTo(found)
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		if found, err := user.Lookup(name); err == nil {
			return droppedTo(found)
		}
	}
	return account{}, errors.New("looking up a user for the database: neither postgres nor nobody exists, and PostgreSQL refuses to run as root; create one of them, or run as another user")
}

// droppedTo is the account of found, for a process of root.
func droppedTo(found *user.User) (account, error) {
	uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return account{}, fmt.Errorf("reading the ids of user %s: %w", found.Username, err)
	}
	return account{name: found.Username, uid: uint32(uid), gid: uint32(gid), drop: true}, nil
}

// own gives path to the account. A symbolic link is not followed: the
// directory belongs to a user whom root need not trust.
func (a account) own(path string) error {
	if !a.drop {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// sysProcAttr makes a child run as the account, in a session of its own: a
// Ctrl-C on the terminal is for us, who stop the child when we are done.
func (a account) sysProcAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if a.drop {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}

// mustReach fails when the account may not enter a directory above path. Only
// root can be so unlucky as to own a path that its server cannot reach.
func (a account) mustReach(path string) error {
	if !a.drop {
		return nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("looking at %s: %w", dir, err)
		}
		if !a.mayEnter(info) {
			return fmt.Errorf("preparing %s: PostgreSQL runs as user %s, who may not enter %s; choose a directory elsewhere, such as /var/lib/klingwatch", path, a.name, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// mayEnter judges by the mode bits, like the kernel where there are no ACLs.
func (a account) mayEnter(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case stat.Uid == a.uid:
		return info.Mode().Perm()&0o100 != 0
	case stat.Gid == a.gid:
		return info.Mode().Perm()&0o010 != 0
	default:
		return info.Mode().Perm()&0o001 != 0
	}
}

// ownerOf returns the user id that owns the file.
func ownerOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid
	}
	return uint32(os.Geteuid())
}

// mkdirAll creates dir and what is missing above it. What root creates can be
// entered by everybody whatever the umask, since the server's user must pass.
func mkdirAll(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := mkdirAll(parent); err != nil {
			return err
		}
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil && os.Geteuid() == 0 {
		err = os.Chmod(dir, 0o755)
	}
	return err
}
