// Package reports reads what is shown of the whole deployment: the report views, and what
// it does now.
//
//	report, err := reports.Read(ctx, pool, "daily", reports.Choice{Since: monthAgo, Limit: 100})
//
//	reports.go  the report views
//	csv.go      a report for spreadsheets
//	now.go      counts of what is open and waits
//	hours.go    what happened in each hour
package reports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
)

// View is a report view, klingwatch.report_NAME.
type View struct {
	Name  string
	Time  string // the column that Since and Until of a Choice are about; "": there is none
	Relay string // the column that Relay of a Choice is about; "": there is none
	Ahead bool   // its times are to come
}

// Views are all report views.
var Views = []View{
	{Name: "daily", Time: "day", Relay: "relay"},
	{Name: "throughput", Time: "minute"},
	{Name: "failures", Time: "day", Relay: "relay"},
	{Name: "in_flight", Relay: "relay"},
	{Name: "outputs", Time: "expires_at", Relay: "relay", Ahead: true},
	{Name: "webhooks"},
	{Name: "deliveries", Time: "created_at", Relay: "relay"},
	{Name: "relays", Relay: "name"},
}

// Find returns the view of a name; false: there is none.
func Find(name string) (View, bool) {
	i := slices.IndexFunc(Views, func(v View) bool { return v.Name == name })
	if i < 0 {
		return View{}, false
	}
	return Views[i], true
}

// Choice chooses rows of a report view. Zero fields choose all; what a view has no column
// for does not count.
type Choice struct {
	Since time.Time
	Until time.Time // before
	Relay string
	Limit int // most rows
}

// MostRows bounds a report.
const MostRows = 10_000

// reading bounds a query, below the 2 s that a page waits, and keeps the planner from compiling it, which takes longer than
// to run it.
var reading = pgx.TxOptions{BeginQuery: "begin read only; set local statement_timeout = '1.8s'; set local jit = off"}

// Report is what a report view shows.
type Report struct {
	Columns []string
	Rows    []json.RawMessage // objects
	More    bool              // there are more rows than the limit
}

// Read reads a report view, the newest rows first. It returns db.ErrNotFound for an
// unknown name.
func Read(ctx context.Context, b db.Beginner, name string, c Choice) (r Report, err error) {
	view, known := Find(name)
	if !known {
		return r, db.ErrNotFound
	}
	err = pgx.BeginTxFunc(ctx, b, reading, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `select array_agg(attname::text order by attnum) from pg_attribute where attrelid = @view::regclass and attnum > 0`,
			pgx.StrictNamedArgs{"view": "klingwatch.report_" + name}).Scan(&r.Columns); err != nil {
			return err
		}
		more := c
		more.Limit++
		rows, err := tx.Query(ctx, `select row_to_json(r) from (`+view.query(c)+`) as r`, view.args(more))
		if err != nil {
			return err
		}
		r.Rows, err = pgx.CollectRows(rows, pgx.RowTo[json.RawMessage])
		if r.More = len(r.Rows) > c.Limit; r.More {
			r.Rows = r.Rows[:c.Limit]
		}
		return err
	})
	if db.Code(err) == queryCanceled && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrTooLong, err)
	}
	return r, err
}

// ErrTooLong says that a report could not be read in time.
var ErrTooLong = errors.New("the report takes the database longer than 1.8 s")

// queryCanceled is Postgres' code for a statement that took too long.
const queryCanceled = "57014"

// query is the query of a choice, with its parameters.
func (v View) query(c Choice) string {
	var conditions []string
	if v.Time != "" && !c.Since.IsZero() {
		conditions = append(conditions, v.Time+" >= @since::timestamptz")
	}
	if v.Time != "" && !c.Until.IsZero() {
		conditions = append(conditions, v.Time+" < @until::timestamptz")
	}
	if v.Relay != "" && c.Relay != "" {
		conditions = append(conditions, v.Relay+" = @relay")
	}
	sql := "select *\nfrom klingwatch.report_" + v.Name
	if len(conditions) > 0 {
		sql += "\nwhere " + strings.Join(conditions, "\n  and ")
	}
	if v.Time != "" {
		sql += "\norder by " + v.Time + " desc"
	}
	return sql + "\nlimit @limit"
}

// args are the parameters of query.
func (v View) args(c Choice) pgx.NamedArgs {
	return pgx.NamedArgs{"since": c.Since, "until": c.Until, "relay": c.Relay, "limit": c.Limit}
}

// SQL is the query of a choice for people, who can run it as it is.
func (v View) SQL(c Choice) string {
	return strings.NewReplacer(
		"@since::timestamptz", literal(c.Since.UTC().Format("2006-01-02 15:04:05+00")),
		"@until::timestamptz", literal(c.Until.UTC().Format("2006-01-02 15:04:05+00")),
		"@relay", literal(c.Relay),
		"@limit", fmt.Sprint(c.Limit),
	).Replace(v.query(c)) + ";"
}

// literal quotes a text for SQL.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
