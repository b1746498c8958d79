package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

type sqlCommand struct {
	Query []string `arg:"" optional:"" help:"Statements to run, in one argument or several; none: psql, or what comes from standard input."`
}

// Help says how it is used.
func (sqlCommand) Help() string {
	return `Opens psql on klingwatch's database. Where psql is not installed, klingwatch runs the statements by itself and prints what they return.

  klingwatch sql
  klingwatch sql "select * from klingwatch.report_daily"`
}

// Run runs psql, or the statements.
func (cmd sqlCommand) Run(ctx context.Context, c *console) error {
	s, err := loadSettings()
	if err != nil {
		return err
	}
	at, err := s.findDatabase(ctx, c.remark)
	if err != nil {
		return err
	}
	pool, err := db.Open(ctx, at, 1) // says what is wrong as the other commands do
	if err != nil {
		return err
	}
	defer pool.Close()
	if program, err := exec.LookPath("psql"); err == nil {
		pool.Close() // psql connects by itself
		return c.runPsql(ctx, program, at, cmd.Query)
	}
	queries := cmd.Query
	if len(queries) == 0 {
		if terminal(c.in) {
			return errors.New("psql is not installed (Debian: apt install postgresql-client): give the statements as an argument, and klingwatch runs them by itself")
		}
		text, err := io.ReadAll(c.in)
		if err != nil {
			return fmt.Errorf("reading standard input: %w", err)
		}
		queries = []string{string(text)}
	}
	return pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		for _, statements := range queries {
			if err := c.printResults(ctx, conn.Conn(), statements); err != nil {
				return err
			}
		}
		return nil
	})
}

// runPsql runs psql on a database until it ends, or until one of the queries fails.
func (c *console) runPsql(ctx context.Context, program, databaseURL string, queries []string) error {
	args, env, err := psqlArgs(databaseURL)
	if err != nil {
		return err
	}
	if len(queries) > 0 {
		args = append(args, "-v", "ON_ERROR_STOP=1")
	}
	for _, statements := range queries {
		args = append(args, "-c", statements)
	}
	psql := exec.CommandContext(context.WithoutCancel(ctx), program, args...)
	psql.Env = append(os.Environ(), env...)
	psql.Stdin, psql.Stdout, psql.Stderr = c.in, c.out, c.err
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer func() { signal.Stop(signals); close(signals) }()
	if err := psql.Start(); err != nil {
		return err
	}
	go func() {
		for received := range signals {
			if received == syscall.SIGTERM { // a Ctrl-C is psql's, however often: it ends a query there
				_ = psql.Process.Signal(received)
			}
		}
	}()
	err = psql.Wait()
	switch ended, is := errors.AsType[*exec.ExitError](err); {
	case is && !ended.Exited() && ctx.Err() != nil:
		return ctx.Err() // by a signal
	case is:
		return quietError{} // it has said why
	}
	return err
}

// ours are parameters of a URL that psql does not know.
var ours = []string{"pool_max_conns", "pool_min_conns", "pool_max_conn_lifetime", "pool_max_conn_lifetime_jitter", "pool_max_conn_idle_time", "pool_health_check_period",
	"default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity"}

// psqlArgs are the arguments and the environment with which psql connects. The password
// is in the environment: others can read arguments.
func psqlArgs(databaseURL string) (args, env []string, err error) {
	u, err := url.Parse(databaseURL)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		cfg, err := pgconn.ParseConfig(databaseURL)
		if err != nil {
			return nil, nil, errors.New("DATABASE_URL is not a Postgres URL like postgres://user:password@host:5432/database")
		}
		return nil, []string{"PGHOST=" + cfg.Host, fmt.Sprintf("PGPORT=%d", cfg.Port), "PGUSER=" + cfg.User, "PGDATABASE=" + cfg.Database, "PGPASSWORD=" + cfg.Password}, nil
	}
	if password, set := u.User.Password(); set {
		env = append(env, "PGPASSWORD="+password)
		u.User = url.User(u.User.Username())
	}
	parameters := u.Query()
	for name := range parameters {
		if slices.Contains(ours, name) {
			parameters.Del(name)
		}
	}
	u.RawQuery = parameters.Encode()
	return []string{u.String()}, env, nil
}

// printResults prints the rows of each statement as a table, else its tag.
func (c *console) printResults(ctx context.Context, conn *pgx.Conn, statements string) error {
	results := conn.PgConn().Exec(ctx, statements)
	for results.NextResult() {
		r := results.ResultReader().Read()
		if r.Err != nil {
			break
		}
		if len(r.FieldDescriptions) == 0 {
			fmt.Fprintln(c.out, r.CommandTag)
			continue
		}
		names := make([]string, len(r.FieldDescriptions))
		for i, f := range r.FieldDescriptions {
			names[i] = f.Name
		}
		rows := make([][]string, len(r.Rows))
		for i, row := range r.Rows {
			rows[i] = make([]string, len(row))
			for j, value := range row {
				rows[i][j] = string(value)
			}
		}
		c.printTable(names, rows)
	}
	return results.Close()
}
