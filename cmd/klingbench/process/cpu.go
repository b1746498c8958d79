package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc: USER_HZ is 100 on every Linux
// that Go runs on.
const clockTick = 10 * time.Millisecond

// processStat is a part of /proc/<pid>/stat.
type processStat struct {
	parent   int
	own      time.Duration // user and system CPU of the process
	children time.Duration // the same of its children that have ended and were waited for
}

// readStat reads /proc/<pid>/stat.
func readStat(pid int) (processStat, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return processStat{}, fmt.Errorf("reading the CPU time of process %d, which needs Linux: %w", pid, err)
	}
	// the name in parentheses may hold anything
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return processStat{}, fmt.Errorf("reading the CPU time of process %d: its stat has only %d fields", pid, len(fields))
	}
	var n [15]int64
	for i := range n {
		n[i], _ = strconv.ParseInt(fields[i], 10, 64) // the first field is a letter
	}
	// man proc_pid_stat counts from 1, and the state is field 3: 4 ppid, 14 utime, 15 stime, 16 cutime, 17 cstime
	return processStat{
		parent:   int(n[1]),
		own:      time.Duration(n[11]+n[12]) * clockTick,
		children: time.Duration(n[13]+n[14]) * clockTick,
	}, nil
}

// Parent returns the id of a process's parent.
func Parent(pid int) (int, error) {
	stat, err := readStat(pid)
	return stat.parent, err
}

// CPU returns the CPU time that a process has used so far.
func CPU(pid int) (time.Duration, error) {
	stat, err := readStat(pid)
	return stat.own, err
}

// FamilyCPU returns the CPU time of a process and all its children, living and dead.
func FamilyCPU(pid int) (time.Duration, error) {
	stat, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	total := stat.own + stat.children
	children, err := Children(pid)
	for _, child := range children {
		if stat, err := readStat(child); err == nil {
			total += stat.own
		}
	}
	return total, err
}

// Children returns the ids of a process's living children.
func Children(pid int) (children []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	for _, entry := range entries {
		other, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if stat, err := readStat(other); err == nil && stat.parent == pid {
			children = append(children, other)
		}
	}
	return children, nil
}

// MachineCPU returns the CPU time that all processes, the kernel and the
// hypervisor have used so far.
func MachineCPU() (total time.Duration, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of the machine, which needs Linux: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal, and guests, which are in user
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of the machine: %w", err)
		}
		total += time.Duration(ticks) * clockTick
	}
	return total, nil
}
