package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// judgement is what a judge found, and what was to be found.
type judgement struct {
	got   Finding
	state State
	part  string // of what was found
}

// judged compares judgements, by name, with what was to be found.
func judged(t *testing.T, judgements map[string]judgement) {
	t.Helper()
	for name, j := range judgements {
		if j.got.State != j.state || !strings.Contains(j.got.Found, j.part) {
			t.Errorf("%s: %+v, want %s with %q", name, j.got, j.state, j.part)
		}
	}
}

func TestWhyACheckCouldNotBeMade(t *testing.T) {
	t.Parallel()
	judged(t, map[string]judgement{
		"no table":    {failed(fmt.Errorf("asking: %w", &pgconn.PgError{Code: "42P01"})), Skipped, "see migrations"},
		"no schema":   {failed(&pgconn.PgError{Code: "3F000"}), Skipped, "see migrations"},
		"no right":    {failed(&pgconn.PgError{Code: "42501", Message: "permission denied for table tasks"}), Bad, "permission denied for table tasks"},
		"took long":   {failed(&pgconn.PgError{Code: "57014"}), Bad, "no answer within 5s"},
		"no answer":   {failed(context.DeadlineExceeded), Bad, "no answer within 5s"},
		"other error": {failed(errors.New("boom")), Bad, "boom"},
	})
}

// Texts from outside are one line that cannot steer a terminal.
func TestAFindingIsOneSafeLine(t *testing.T) {
	t.Parallel()
	if f := bad("look", "first\n\x1b[2J\u202esecond").named("check"); f.Found != "first [2Jsecond" || f.Check != "check" {
		t.Errorf("%+q", f)
	}
}
