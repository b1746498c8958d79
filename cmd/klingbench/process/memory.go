package process

import (
	"errors"
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
	for _, line := range []struct{ file, prefix string }{{"smaps_rollup", "Rss:"}, {"status", "VmRSS:"}} {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), line.file))
		if err != nil {
			continue
		}
		for row := range strings.SplitSeq(string(text), "\n") {
			if value, found := strings.CutPrefix(row, line.prefix); found {
				kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
				return kib << 10, err
			}
		}
	}
	return 0, errors.New("reading the memory of a process, which needs Linux: neither smaps_rollup nor status shows it")
}
