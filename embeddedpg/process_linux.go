package embeddedpg

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent makes the kernel send the signal to the child when the thread
// that starts it ends, which includes a kill -9 of the process.
func dieWithParent(attr *syscall.SysProcAttr, signal syscall.Signal) { attr.Pdeathsig = signal }

// commandLine returns the arguments of a process; nil when it is gone, is a zombie,
// or may not be seen.
func commandLine(pid int) []string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return nil
	}
	text = bytes.TrimRight(text, "\x00")
	if len(text) == 0 {
		return nil
	}
	return strings.Split(string(text), "\x00")
}

// isPostmaster reports whether the process is a PostgreSQL that serves the
// cluster. The server processes that a postmaster forks rename themselves and
// do not count.
func isPostmaster(pid int, cluster string) bool {
	args := commandLine(pid)
	if len(args) == 0 || filepath.Base(args[0]) != "postgres" {
		return false
	}
	for i, arg := range args[1:] {
		if arg == cluster && args[i] == "-D" {
			return true
		}
	}
	return false
}
