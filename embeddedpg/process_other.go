//go:build unix && !linux && !aix && !solaris

package embeddedpg

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent does nothing, as these systems offer no such thing: the next owner
// of the directory stops a server that outlived its parent.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// isPostmaster reports whether the process is a PostgreSQL that serves the
// cluster.
func isPostmaster(pid int, cluster string) bool {
	out, err := exec.Command("ps", "-ww", "-o", "stat=,command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return false // no such process
	}
	state, command, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	return !strings.HasPrefix(state, "Z") && strings.Contains(command, "postgres") &&
		strings.Contains(command, " -D "+cluster+" ")
}
