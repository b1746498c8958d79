//go:build linux || darwin

package archive

import "syscall"

// FreeSpace returns the bytes that are left for ordinary users where dir is.
func FreeSpace(dir string) (free int64, known bool) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return 0, false
	}
	return int64(disk.Bavail) * int64(disk.Bsize), true
}
