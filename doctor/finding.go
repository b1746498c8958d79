package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/klingwatch/klingwatch/outbound"
)

// State says how bad a finding is.
type State string

// The states of a finding.
const (
	OK      State = "ok"
	Warn    State = "warn"    // works, but look at it
	Bad     State = "bad"     // does not work
	Skipped State = "skipped" // could not be checked; another finding says why
)

// Finding is what a check found. Its texts are one line each and hold no secret.
type Finding struct {
	Check string `json:"check"` // name of the check, lower case with hyphens
	State State  `json:"state"`
	Found string `json:"found"`
	Todo  string `json:"todo"` // what to do; "" when ok or skipped
}

func fine(format string, args ...any) Finding {
	return Finding{State: OK, Found: fmt.Sprintf(format, args...)}
}

func warn(todo, format string, args ...any) Finding {
	return Finding{State: Warn, Found: fmt.Sprintf(format, args...), Todo: todo}
}

func bad(todo, format string, args ...any) Finding {
	return Finding{State: Bad, Found: fmt.Sprintf(format, args...), Todo: todo}
}

func skipped(why string) Finding { return Finding{State: Skipped, Found: why} }

// named says which check found it, and makes one safe line of what was found.
func (f Finding) named(check string) Finding {
	f.Check, f.Found = check, outbound.Line(f.Found)
	return f
}

// undefined are the codes of Postgres for tables and the like that do not exist.
var undefined = []string{"3F000", "42P01", "42703", "42883"}

// The codes of Postgres for missing rights and for a query that took too long.
const (
	insufficientPrivilege = "42501"
	queryCanceled         = "57014"
)

// outOfSight is found where a role that looks may not see secrets or the queue.
const outOfSight = "this role may not see it: ask with the role that klingwatch serve has"

// denied reports whether rights were missing.
func denied(err error) bool {
	pgErr, isPg := errors.AsType[*pgconn.PgError](err)
	return isPg && pgErr.Code == insufficientPrivilege
}

// failed is the finding of a check that could not ask the database.
func failed(err error) Finding {
	pgErr, isPg := errors.AsType[*pgconn.PgError](err)
	switch {
	case isPg && slices.Contains(undefined, pgErr.Code):
		return skipped("the database lacks what is asked for; see migrations")
	case denied(err):
		return bad("give DATABASE_URL the role that klingwatch serve has", "%s", pgErr.Message)
	case isPg && pgErr.Code == queryCanceled, errors.Is(err, context.DeadlineExceeded):
		return bad("see whether the server is overloaded or its disk is slow", "the database gave no answer within %s", checkLimit)
	}
	return bad("try again; see the log of Postgres", "%s", err)
}
