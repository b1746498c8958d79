package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/klingwatch/klingwatch/lookback"
)

// Querier is a pool, a connection or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// idsByKey are the ids of rows that are looked up by their primary key. Where Postgres sees
// some hundreds of them in a list, it takes the block range index of tasks, in which each
// matches most of the ranges once rows have moved: 11 s for 1,000 of 500,000 tasks.
const idsByKey = `array(select unnest(@ids::bigint[]))`

// LimitLockWait returns the options of a transaction whose statements wait at most so
// long for a row that another transaction has locked. Where one would wait longer,
// RowLocked holds for its error.
func LimitLockWait(limit time.Duration) pgx.TxOptions {
	return pgx.TxOptions{BeginQuery: fmt.Sprintf("begin; set local lock_timeout = '%dms'", limit.Milliseconds())}
}

// Beginner is a pool or a connection.
type Beginner interface {
	Querier
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// single keeps the planner from what costs more than it gains for a page.
const single = "; set local jit = off; set local max_parallel_workers_per_gather = 0"

// bitmaps leaves the planner only indexes that are read as a whole, like those on times.
const bitmaps = "; set local enable_seqscan = off; set local enable_indexscan = off"

// limited reads rows as all does, in a transaction with further settings, or returns
// lookback.ErrTooLong after a time.
func limited[T any](ctx context.Context, b Beginner, limit time.Duration, settings, sql string, args ...any) (list []T, err error) {
	options := pgx.TxOptions{BeginQuery: fmt.Sprintf("begin read only; set local statement_timeout = '%dms'%s%s", max(limit.Milliseconds(), 1), single, settings)}
	err = pgx.BeginTxFunc(ctx, b, options, func(tx pgx.Tx) error {
		list, err = all[T](ctx, tx, sql, args...)
		return err
	})
	if Code(err) == "57014" && ctx.Err() == nil { // query_canceled
		err = lookback.ErrTooLong
	}
	return list, err
}

// Page is a part of a list, newest first.
type Page[T any] struct {
	Items []T
	Next  int64     // where the list goes on: Before of its next page; 0: it ends here
	Cut   bool      // what is older than Next was not looked at: there was no time, and no index led to it
	Since time.Time // with Cut: the time of the oldest that was looked at
}

// pageOf is a page that was read; when returns the time of the first row from an id on.
func pageOf[T any](ctx context.Context, q Querier, p lookback.Page[T], when string) (Page[T], error) {
	page := Page[T]{Items: p.Items, Next: p.Next, Cut: p.Cut}
	if !p.Cut {
		return page, nil
	}
	err := q.QueryRow(ctx, when, pgx.StrictNamedArgs{"id": p.Next}).Scan(&page.Since)
	if errors.Is(err, pgx.ErrNoRows) { // gone meanwhile
		err = nil
	}
	return page, err
}

// one reads exactly one row into a T, by column names. It returns ErrNotFound
// where there is none.
func one[T any](ctx context.Context, q Querier, sql string, args ...any) (T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		var zero T
		return zero, err
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	return row, err
}

// all reads the rows into a slice of T, by column names.
func all[T any](ctx context.Context, q Querier, sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[T])
}

// existing turns "no row was changed" into ErrNotFound.
func existing(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.RowsAffected() == 0 {
		return ErrNotFound
	}
	return err
}

// ErrNotFound says that there is no such row.
var ErrNotFound = errors.New("not found")

// Outage is a trouble of the database itself: the same statement may succeed later.
type Outage string

// The outages.
const (
	NoOutage           Outage = ""
	Unreachable        Outage = "unreachable"          // or the session was ended
	ReadOnly           Outage = "read only"            // a standby, a failover, a full disk of a managed database
	DiskFull           Outage = "disk full"            //
	OutOfMemory        Outage = "out of memory"        //
	TooManyConnections Outage = "too many connections" //
	OutOfResources     Outage = "out of resources"     // of another kind
	Conflict           Outage = "conflict"             // two transactions were in each other's way
)

// OutageOf tells errors that are about the database (SQLSTATE 25006, 25P03, classes 08,
// 40, 53, 57P and 58, network errors, a context whose time has passed) from those about
// what was asked of it, for which it returns NoOutage.
func OutageOf(err error) Outage {
	if code := Code(err); code != "" {
		return outageOfCode(code)
	}
	if errors.Is(err, ErrReadOnly) {
		return ReadOnly
	}
	if errors.Is(err, context.Canceled) { // by the caller
		return NoOutage
	}
	var netErr net.Error
	var connectErr *pgconn.ConnectError
	if errors.As(err, &netErr) || errors.As(err, &connectErr) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err) {
		return Unreachable
	}
	return NoOutage
}

func outageOfCode(code string) Outage {
	switch {
	case code == "25006":
		return ReadOnly
	case code == "53100":
		return DiskFull
	case code == "53200":
		return OutOfMemory
	case code == "53300":
		return TooManyConnections
	case inClass(code, "53", "58"):
		return OutOfResources
	case inClass(code, "40"):
		return Conflict
	case inClass(code, "08", "57P"), code == "25P03": // the last: it was idle in a transaction
		return Unreachable
	}
	return NoOutage
}

// sqlState is how errors of Postgres end, as text.
var sqlState = regexp.MustCompile(`\(SQLSTATE ([0-9A-Z]{5})\)`)

// OutageIn is OutageOf for the text of an error.
func OutageIn(text string) Outage {
	if found := sqlState.FindStringSubmatch(text); found != nil {
		return outageOfCode(found[1])
	}
	for _, phrase := range []string{"failed to connect to", "conn closed", "unexpected EOF", "connection reset by peer", "broken pipe", "context deadline exceeded"} {
		if strings.Contains(text, phrase) {
			return Unreachable
		}
	}
	if strings.Contains(text, ErrReadOnly.Error()) {
		return ReadOnly
	}
	return NoOutage
}

// Transient reports whether the same write may succeed in a moment.
func Transient(err error) bool { return OutageOf(err) != NoOutage }

// RefusedValue reports whether an error is about the data that was written
// (classes 21 to 23 and 54).
func RefusedValue(err error) bool { return inClass(Code(err), "21", "22", "23", "54") }

// RowLocked reports whether another transaction kept a row locked for longer than
// lock_timeout.
func RowLocked(err error) bool { return Code(err) == "55P03" }

// Denied reports whether the role lacks the right.
func Denied(err error) bool { return Code(err) == "42501" }

// Code returns the SQLSTATE of an error, "" for one that is not the server's.
func Code(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

func inClass(code string, classes ...string) bool {
	return slices.ContainsFunc(classes, func(class string) bool { return len(code) == 5 && code[:len(class)] == class })
}

// columns are those of rows of T that a statement takes as arrays, one for each column, which
// costs Postgres half of what reading JSON does, and tells its planner how many there are.
type columns[T any] struct {
	names  []string
	fields []reflect.StructField // of T, in the same order
	table  string                // the expression that makes rows of the arrays, without an alias
}

// newColumns reads a list such as "task bigint, created timestamptz". Each column has the
// values of the field of T that bears its name in JSON; it panics where there is none.
func newColumns[T any](list string) columns[T] {
	named := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		named[name] = f
	}
	var c columns[T]
	var arrays []string
	for column := range strings.SplitSeq(list, ",") {
		name, kind, _ := strings.Cut(strings.TrimSpace(column), " ")
		field, found := named[name]
		if !found {
			panic(fmt.Sprintf("%s has no field for the column %s", reflect.TypeFor[T](), name))
		}
		c.names, c.fields = append(c.names, name), append(c.fields, field)
		arrays = append(arrays, "@"+name+"::"+kind+"[]")
	}
	c.table = "unnest(" + strings.Join(arrays, ", ") + ")"
	return c
}

// as is the expression for a from clause, with the names of the columns.
func (c columns[T]) as(alias string) string {
	return c.table + " as " + alias + " (" + strings.Join(c.names, ", ") + ")"
}

// arrays are the arguments of a statement that takes rows.
func (c columns[T]) arrays(rows []T) pgx.StrictNamedArgs {
	args := pgx.StrictNamedArgs{}
	all := reflect.ValueOf(rows)
	for i, f := range c.fields {
		array := reflect.MakeSlice(reflect.SliceOf(f.Type), len(rows), len(rows))
		for row := range rows {
			array.Index(row).Set(all.Index(row).FieldByIndex(f.Index))
		}
		args[c.names[i]] = cleaned(array.Interface())
	}
	return args
}

// cleaned makes of an array what JSON would have: text in valid UTF-8, no value for null, and
// none for a time that no JSON can hold, which nobody could read.
func cleaned(array any) any {
	switch list := array.(type) {
	case []string:
		for i, s := range list {
			list[i] = validUTF8(s)
		}
	case []*string:
		for i, s := range list {
			if s != nil {
				list[i] = new(validUTF8(*s))
			}
		}
	case []*time.Time:
		for i, t := range list {
			if t != nil && (t.UTC().Year() < 1 || t.UTC().Year() > 9999) {
				list[i] = nil
			}
		}
	case []json.RawMessage:
		for i, raw := range list {
			if string(raw) == "null" {
				list[i] = nil
			}
		}
	}
	return array
}

func validUTF8(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
