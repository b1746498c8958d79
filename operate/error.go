package operate

import (
	"errors"
	"fmt"

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
)

// Error is an answer "no".
type Error struct {
	Code    Code
	Field   string // of the input, named as in JSON, where one is Invalid; else ""
	Message string // one line, for people; with a Field it goes on from its name
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
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// invalid refuses a field of the input; "" for the input as a whole.
func invalid(field, format string, args ...any) error {
	return &Error{Code: Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// missing turns db.ErrNotFound into an answer about a thing with a number, and
// says for any other error what was being done.
func missing(err error, thing string, id int64, doing, hint string) error {
	if errors.Is(err, db.ErrNotFound) {
		return refuse(NotFound, hint, "there is no %s %d", thing, id)
	}
	return fmt.Errorf("%s %s %d: %w", doing, thing, id, err)
}
