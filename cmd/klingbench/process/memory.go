package process

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// Memory of a process that is in RAM, in bytes.
type Memory struct {
	Used      int64 // as it is
	Collected int64 // after a garbage collection that gives unused pages back
}

// OwnMemory measures the memory of this process, and collects its garbage.
func OwnMemory() (m Memory, err error) {
	if m.Used, err = ResidentMemory(os.Getpid()); err != nil {
		return m, err
	}
	debug.FreeOSMemory()
	m.Collected, err = ResidentMemory(os.Getpid())
	return m, err
}

// ResidentMemory returns the memory of a process that is in RAM, in bytes.
// smaps_rollup is exact where the counters of status may lag.
func ResidentMemory(pid int) (int64, error) {
	if rss, err := readMemory(pid, "smaps_rollup", "Rss:"); err == nil {
		return rss, nil
	}
	return readMemory(pid, "status", "VmRSS:")
}

// PeakMemory returns the most memory of a process that was in RAM so far, in bytes.
func PeakMemory(pid int) (int64, error) { return readMemory(pid, "status", "VmHWM:") }

// readMemory reads a line of a file in /proc/<pid>.
func readMemory(pid int, file, prefix string) (int64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of process %d, which needs Linux: %w", pid, err)
	}
	for row := range strings.SplitSeq(string(text), "\n") {
		if value, found := strings.CutPrefix(row, prefix); found {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("reading the memory of process %d: its %s has no line %s", pid, file, prefix)
}
