package db_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sources reads the Go files of the package, without its tests, by name.
func sources(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, name := range must(filepath.Glob("*.go"))(t) {
		if !strings.HasSuffix(name, "_test.go") {
			texts[name] = string(must(os.ReadFile(name))(t))
		}
	}
	return texts
}

// queue recognises the names of River's tables, functions and channels.
var queue = regexp.MustCompile(`(?i)river_|bitmask`)

// The queue could be replaced: one file would change, and one step of the
// migrations be added.
func TestOneFileKnowsTheQueue(t *testing.T) {
	t.Parallel()
	texts := sources(t)
	var knowing []string
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if queue.MatchString(texts[name]) {
			knowing = append(knowing, name)
		}
	}
	if !slices.Equal(knowing, []string{"job.go"}) {
		t.Errorf("%q know River's tables: only job.go may; ask klingwatch.live_jobs and klingwatch.give_jobs instead", knowing)
	}
}

var (
	updateOfTasks = regexp.MustCompile(`(?is)\b(update|merge\s+into)\s+klingwatch\.tasks\b.*?(\bwhere\b|$)`)
	raisesVersion = regexp.MustCompile(`(?i)\bversion\s*=\s*(t\.)?version\s*\+\s*1\b`)
)

// updatesWithout counts the statements that update tasks, and returns those that
// do not raise the version.
func updatesWithout(text string) (updates int, without []string) {
	for _, update := range updateOfTasks.FindAllString(text, -1) {
		updates++
		if !raisesVersion.MatchString(update) {
			without = append(without, update)
		}
	}
	return updates, without
}

// A trigger raises it for writers that do not, at the cost of a call for each row.
func TestEveryUpdateOfTasksRaisesTheVersion(t *testing.T) {
	t.Parallel()
	found := 0
	for name, text := range sources(t) {
		updates, without := updatesWithout(text)
		found += updates
		for _, update := range without {
			t.Errorf("%s: this update of tasks lacks version = version + 1:\n%s", name, update)
		}
	}
	if found < 2 { // a third is klingwatch.retry
		t.Errorf("only %d updates of tasks were found: the test has lost sight of them", found)
	}
	for sql, want := range map[string]int{
		"update klingwatch.tasks set polls = 1 where id = 1":                                       1,
		"UPDATE klingwatch.tasks t SET polls = 1, version = t.version where true":                  1,
		"update klingwatch.tasks set polls = 1":                                                    1,
		"update klingwatch.tasks set polls = 1 where version = version + 1":                        1,
		"update klingwatch.tasks t\nset version = t.version + 1,\n polls = 1 where id = 1":         0,
		"update klingwatch.tasks set polls = 1, version = version + 1":                             0,
		"update klingwatch.deliveries set attempts = 1 where id = 1; select from klingwatch.tasks": 0,
	} {
		if _, without := updatesWithout(sql); len(without) != want {
			t.Errorf("%q: found %q", sql, without)
		}
	}
}
