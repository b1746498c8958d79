package operate

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/klingwatch/klingwatch/db"
)

// Code says why an action was not done, for machines.
type Code string

// The codes of an Error.
const (
	NotFound  Code = "not_found" // there is no such thing
	Ambiguous Code = "ambiguous" // several things have that name
	Invalid   Code = "invalid"   // what was asked for makes no sense
	Conflict  Code = "conflict"  // the thing is in a state in which it cannot be done
	Changed   Code = "changed"   // what was counted has changed
	Differs   Code = "differs"   // the task is tracked already, with other values
)

// Error is an answer "no".
type Error struct {
	Code    Code
	Field   string // of the input, named as in JSON, where one is Invalid; else ""
	Place   int    // among several things that were given, from 0
	Message string // one line, for people; with a Field it goes on from its name
	Rule    string // the Message without what was given, for whoever must not get that back; "": it cannot be told
	Hint    string // a command that helps; "": none
}

// Error is the field, the message and the hint.
func (e *Error) Error() string {
	text := e.Message
	if e.Field != "" {
		text = e.Field + " " + text
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

func refuse(code Code, hint, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Rule: ruleIn(format, args), Hint: hint}
}

// invalid refuses a field of the input; "" for the input as a whole.
func invalid(field, format string, args ...any) *Error {
	return &Error{Code: Invalid, Field: field, Message: fmt.Sprintf(format, args...), Rule: ruleIn(format, args)}
}

// rule tells what is demanded without what was given.
func (e *Error) rule(rule string) *Error {
	e.Rule = rule
	return e
}

// ruleIn is the part of a message up to the first value in it, if it ends there: ", not %s".
func ruleIn(format string, args []any) string {
	if len(args) == 0 {
		return format
	}
	rule, rest, found := strings.Cut(format, ", not %")
	if found && len(rest) == 1 && !strings.Contains(rule, "%") {
		return rule
	}
	return ""
}

// RuleOf is the rule that the database says is broken: its constraints are named by
// sentences. "" for any other error.
func RuleOf(err error) string {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return ""
	case pgErr.Code == foreignKeyViolation: // the sentence names what was given
		return "the relay is not known"
	}
	return pgErr.ConstraintName
}

// foreignKeyViolation is Postgres' code for a value that another table lacks.
const foreignKeyViolation = "23503"

// missing turns db.ErrNotFound into an answer about a thing with a number, and
// says for any other error what was being done.
func missing(err error, thing string, id int64, doing, hint string) error {
	if errors.Is(err, db.ErrNotFound) {
		return refuse(NotFound, hint, "there is no %s %d", thing, id)
	}
	return fmt.Errorf("%s %s %d: %w", doing, thing, id, err)
}
