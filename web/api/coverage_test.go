package api

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// TestMain fails as well when the scenarios, whose every answer is checked against the
// specification, leave an operation out. Where only some tests run, it cannot know.
func TestMain(m *testing.M) {
	code := dbtest.Run(m)
	if all := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && !*update; code == 0 && all {
		untried, err := tried.missing()
		for _, what := range untried {
			fmt.Fprintln(os.Stderr, "no scenario has", what)
		}
		if err != nil || len(untried) > 0 {
			fmt.Fprintln(os.Stderr, "FAIL: the scenarios do not have every operation", err)
			code = 1
		}
	}
	os.Exit(code)
}

// tried is how the operations were answered in scenarios.
var tried = coverage{answers: map[string]map[bool]bool{}}

type coverage struct {
	mu      sync.Mutex
	answers map[string]map[bool]bool // by pattern: whether one succeeded, whether one failed
}

func (c *coverage) note(pattern string, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers[pattern] == nil {
		c.answers[pattern] = map[bool]bool{}
	}
	c.answers[pattern][status < 400] = true
}

// missing lists what no scenario has.
func (c *coverage) missing() (untried []string, err error) {
	a, err := New(Config{})
	if err != nil {
		return nil, err
	}
	a.operations(func(r Route, _ *huma.Operation) {
		answers := c.answers[r.Method+" "+r.Path]
		if !answers[true] {
			untried = append(untried, fmt.Sprintf("a success of %s %s", r.Method, r.Path))
		}
		if !answers[false] {
			untried = append(untried, fmt.Sprintf("a failure of %s %s", r.Method, r.Path))
		}
	})
	return untried, nil
}
