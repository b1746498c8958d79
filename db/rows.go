package db

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/jackc/pgx/v5"
)

// columns are those of rows that a statement takes as arrays, one for each column, which
// costs Postgres half of what reading JSON does, and tells its planner how many there are.
type columns struct {
	names []string
	table string // the expression that makes rows of the arrays, without an alias
}

// newColumns reads a list such as "task bigint, created timestamptz".
func newColumns(list string) columns {
	var c columns
	var arrays []string
	for column := range strings.SplitSeq(list, ",") {
		name, kind, _ := strings.Cut(strings.TrimSpace(column), " ")
		c.names = append(c.names, name)
		arrays = append(arrays, "@"+name+"::"+kind+"[]")
	}
	c.table = "unnest(" + strings.Join(arrays, ", ") + ")"
	return c
}

// as is the expression for a from clause, with the names of the columns.
func (c columns) as(alias string) string {
	return c.table + " as " + alias + " (" + strings.Join(c.names, ", ") + ")"
}

// arraysOf are the arguments of a statement that takes rows: of each column, the values of
// the fields that bear its name in JSON. A statement must not name a column that T lacks.
func arraysOf[T any](c columns, rows []T) pgx.StrictNamedArgs {
	fields := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[name] = f
	}
	args := pgx.StrictNamedArgs{}
	all := reflect.ValueOf(rows)
	for _, name := range c.names {
		f, found := fields[name]
		if !found {
			panic(fmt.Sprintf("%s has no field for the column %s", reflect.TypeFor[T](), name))
		}
		array := reflect.MakeSlice(reflect.SliceOf(f.Type), len(rows), len(rows))
		for i := range rows {
			array.Index(i).Set(all.Index(i).FieldByIndex(f.Index))
		}
		args[name] = cleaned(array.Interface())
	}
	return args
}

// cleaned makes of an array what JSON would have: text in valid UTF-8, and no value for null.
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
