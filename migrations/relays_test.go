package migrations_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

const addRelay = `insert into klingwatch.relays (name, base_url, key_source, key_file) values ($1, 'https://relay.example', 'key_file', '/run/key')`

// noticing is a pool whose notices a test reads.
func noticing(t *testing.T) (pool *pgxpool.Pool, notices func() string) {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(dbtest.NewURL(t))
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu   sync.Mutex
		text strings.Builder
	)
	cfg.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		mu.Lock()
		defer mu.Unlock()
		text.WriteString(n.Message + "\n")
	}
	if pool, err = pgxpool.NewWithConfig(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool, func() string {
		mu.Lock()
		defer mu.Unlock()
		defer text.Reset()
		return text.String()
	}
}

func TestATaskOfAnUnknownRelayIsRefusedWithTheKnownOnes(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	insert := func(relay string) error {
		_, err := pool.Exec(t.Context(), `insert into klingwatch.tasks (task_id, action, action2, relay) values ('1', 'videos', 'text2video', $1)`, relay)
		return err
	}
	if _, err := pool.Exec(t.Context(), addRelay, "second"); err != nil {
		t.Fatal(err)
	}
	err := insert("typo")
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.Message != "relay typo is not known, the relays are default, second" || pgErr.Code != "23503" {
		t.Errorf("refused with %v", err)
	}
	for _, relay := range []string{"default", "second"} {
		if err := insert(relay); err != nil {
			t.Errorf("%s: %v", relay, err)
		}
	}
	if err := insert("second"); err == nil || !strings.Contains(err.Error(), "tracked already") {
		t.Errorf("the same task at the same relay: %v", err)
	}
}

// Until there is a second relay, the key that the version before knows stands.
func TestTheOldKeyGoesWithTheFirstOtherRelay(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	const old = `insert into klingwatch.tasks (task_id, action, action2) values ('1', 'videos', 'text2video') on conflict (task_id, action, action2) do nothing`
	for range 2 {
		if _, err := pool.Exec(t.Context(), old); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.relays (name, base_url, key_source) values ('default', 'https://relay.example', 'settings')`); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), old); err != nil {
		t.Errorf("with the relay of the settings: %v", err)
	}
	for _, name := range []string{"second", "third"} {
		if _, err := pool.Exec(t.Context(), addRelay, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.tasks (task_id, action, action2, relay) values ('1', 'videos', 'text2video', 'second') on conflict do nothing`); err != nil {
		t.Error(err)
	}
	var n int
	if err := pool.QueryRow(t.Context(), `select count(*) from klingwatch.tasks`).Scan(&n); err != nil || n != 2 {
		t.Errorf("%d tasks, %v", n, err)
	}
}

func TestAPathThatNobodyDocumentsIsNoticed(t *testing.T) {
	t.Parallel()
	pool, notices := noticing(t)
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.relays (name, base_url, key_source, key_file, task_path)
		values ('batching', 'https://relay.example', 'key_file', '/run/key', '/tasks?task_ids={task_ids}')`); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, relay string
		noticed     bool
	}{
		{"videos/text2video", "default", false},
		{"video/text2video", "default", true},
		{"videos/text2vido", "default", true},
		{"text-to-video/kling-3.0-turbo", "default", false},
		{"Text-To-Video/kling_v3.omni/a", "default", true},
		{"anything/at-all", "batching", false}, // its path has no action
	} {
		action, action2, _ := strings.Cut(test.path, "/")
		if _, err := pool.Exec(t.Context(), `insert into klingwatch.tasks (task_id, action, action2, relay) values ($1, $2, $3, $4)`, test.path, action, action2, test.relay); err != nil {
			t.Fatal(err)
		}
		if said := notices(); strings.Contains(said, test.path) != test.noticed {
			t.Errorf("%s: %q", test.path, said)
		}
	}
}

func TestRelaysThatCannotBeAskedAreRefused(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for row, column := range map[string]string{
		`'Upper', 'https://r.example', '/{task_id}', 'key_file', '/k'`:    "name",
		`'a', 'r.example', '/{task_id}', 'key_file', '/k'`:                "base_url",
		`'a', 'https://u:p@r.example', '/{task_id}', 'key_file', '/k'`:    "base_url",
		`'a', 'https://r.example', '/tasks', 'key_file', '/k'`:            "task_path",
		`'a', 'https://r.example', '{task_id}', 'key_file', '/k'`:         "task_path",
		`'a', 'https://r.example', '/{task_id}', 'settings', null`:        "key_source",
		`'a', 'https://r.example', '/{task_id}', 'stored', '/k'`:          "key_source",
		`'default', 'https://r.example', '/{task_id}', 'key_file', '/k'`:  "key_source",
		`'a', 'https://r.example', '/{task_id}', 'somewhere', null`:       "key_source",
		`'a', 'https://r.example', '/{task_id}{task_ids}', 'key_file', 1`: "task_path",
	} {
		_, err := pool.Exec(t.Context(), fmt.Sprintf(`insert into klingwatch.relays (name, base_url, task_path, key_source, key_file) values (%s)`, row))
		if err == nil || !strings.Contains(err.Error(), `"`+column+":") {
			t.Errorf("%s: %v", row, err)
		}
	}
}
