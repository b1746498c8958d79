package migrations_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// documented are the relations of docs/sql.md in its order; the rest is for
// klingwatch itself.
var documented = []string{
	"report_daily", "report_in_flight", "report_failures", "report_outputs", "report_webhooks", "report_throughput",
	"tasks", "outputs", "events", "webhook_endpoints", "deliveries", "delivery_attempts", "redeliveries", "polling_pauses",
}

// column is a line of a table in docs/sql.md.
type column struct{ Relation, About, Name, Type, Comment string }

// docs/sql.md is made of the comments in the database.
func TestTheSQLPageIsWhatTheCommentsSay(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	rows, err := pool.Query(t.Context(), `
		select c.relname as relation,
		       obj_description(c.oid) as about,
		       a.attname as name,
		       format_type(a.atttypid, a.atttypmod) as type,
		       col_description(c.oid, a.attnum) as comment
		from unnest($1::text[]) with ordinality as d(name, place)
		join pg_class c on c.relname = d.name and c.relnamespace = 'klingwatch'::regnamespace
		join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		order by d.place, a.attnum`, documented)
	if err != nil {
		t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByName[column])
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	page.WriteString("# Schema klingwatch\n\nWhat people read with SQL: views first, then the tables behind them. Made of the comments in the database\n" +
		"by `make generate`; in psql, `\\d+ klingwatch.tasks` shows the same. [cookbook.md](cookbook.md) has queries.\n")
	relation := ""
	for _, c := range columns {
		if c.Relation != relation {
			relation = c.Relation
			fmt.Fprintf(&page, "\n## %s\n\n%s\n\n| column | type | |\n|---|---|---|\n", relation, c.About)
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s |\n", c.Name, c.Type, strings.ReplaceAll(c.Comment, "|", "\\|"))
	}
	const path = "../docs/sql.md"
	if *update {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if written, err := os.ReadFile(path); err != nil || string(written) != page.String() {
		t.Errorf("docs/sql.md is old (%v): run make generate", err)
	}
}

var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")

// Every query that the documents show runs, as the reader; inserts as the producer.
func TestEveryDocumentedQueryRuns(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	runFile(t, pool, "testdata/reports/recent.sql")
	reader, producer := loginAs(t, pool, "klingwatch_reader"), loginAs(t, pool, "klingwatch_producer")
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range sqlBlock.FindAllStringSubmatch(string(text), -1) {
			conn := reader
			if strings.HasPrefix(block[1], "insert") {
				conn = producer
			}
			if _, err := conn.Exec(t.Context(), block[1]); err != nil {
				t.Errorf("%s: %v in\n%s", page, err, block[1])
			}
			queries++
		}
	}
	if queries < 12 {
		t.Errorf("only %d queries were found", queries)
	}
}
