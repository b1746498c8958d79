package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

const (
	watchedTasks = 60 // they never end
	siegeTime    = time.Second
	siegeTries   = 5 // a machine that is busy with other things slows us as well, but not for long
)

// An attack is what a session does again and again: one statement at a time.
type attack func(random *rand.Rand) (sql string, args []any)

// pick returns one of several values.
func pick[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }

func anyQueue(random *rand.Rand) string {
	return pick(random, "*", fmt.Sprintf("poll-%d", random.IntN(8)), deliverQueue, redeliverQueue, "elsewhere")
}

func garbage(random *rand.Rand) string {
	return pick(random, "", "x", "null", "[]", `{"queue":7}`, `{"action":`, "-1", "99999999999999999999", strings.Repeat("x", 7999))
}

// attacks are all ways in which a role without rights can speak to us.
var attacks = map[string]attack{
	"controls": func(random *rand.Rand) (string, []any) {
		return `select pg_notify('klingwatch.river_control', $1)`, []any{pick(random,
			fmt.Sprintf(`{"action":%q,"queue":%q}`, pick(random, "pause", "pause", "resume", "metadata_changed"), anyQueue(random)),
			fmt.Sprintf(`{"action":"cancel","queue":%q,"job_id":%d}`, anyQueue(random), random.IntN(2*watchedTasks)),
			garbage(random))}
	},
	"pauses everything": func(*rand.Rand) (string, []any) {
		return `select pg_notify('klingwatch.river_control', '{"action":"pause","queue":"*"}')`, nil
	},
	"resignations": func(random *rand.Rand) (string, []any) {
		return `select pg_notify('klingwatch.river_leadership', $1)`, []any{pick(random,
			`{"action":"request_resign"}`, `{"action":"resigned","leader_id":"kw1"}`, `{"action":"resigned","leader_id":"other"}`, garbage(random))}
	},
	"wake-ups": func(random *rand.Rand) (string, []any) {
		return `select pg_notify('klingwatch.river_insert', $1)`, []any{pick(random, fmt.Sprintf(`{"queue":%q}`, anyQueue(random)), garbage(random))}
	},
	"many wake-ups": func(*rand.Rand) (string, []any) {
		return `select pg_notify('klingwatch.river_insert', format('{"queue":"%s","n":%s}', queue, n))
			from generate_series(1, 10) n, unnest(array['poll-0','poll-1','poll-2','poll-3','poll-4','poll-5','poll-6','poll-7','deliver','redeliver']) queue`, nil
	},
	"changed tasks": func(random *rand.Rand) (string, []any) {
		return `select pg_notify('klingwatch.tasks', $1)`, []any{pick(random, fmt.Sprint(random.IntN(2*watchedTasks)), garbage(random))}
	},
	"all tasks changed": func(*rand.Rand) (string, []any) {
		return `select pg_notify('klingwatch.tasks', id::text) from generate_series(1, $1::int) id`, []any{2 * watchedTasks}
	},
	"forged callbacks": func(random *rand.Rand) (string, []any) {
		return `select pg_notify('klingwatch.tasks', 'callback ' || $1)`, []any{pick(random, fmt.Sprint(random.IntN(2*watchedTasks)), "x", "-1", "99999999999999999999", "")}
	},
	"callbacks of all tasks": func(*rand.Rand) (string, []any) {
		return `select pg_notify('klingwatch.tasks', 'callback ' || id) from generate_series(1, $1::int) id`, []any{2 * watchedTasks}
	},
	"forged processes": func(random *rand.Rand) (string, []any) {
		return pick(random, `select pg_try_advisory_lock($1, slot) from generate_series(1, $2::int) slot`, `select pg_try_advisory_lock_shared($1, slot) from generate_series(1, $2::int) slot`),
			[]any{0x6b6c6e67, pick(random, 1, 99, 999, 2000)}
	},
	"forged names": func(random *rand.Rand) (string, []any) {
		return `select set_config('application_name', $1, false), pg_try_advisory_lock(1802268263, 3)`, []any{fmt.Sprintf("klingwatch kw%d tasks=%d asks=x", random.IntN(9), random.IntN(1e9))}
	},
	"all kinds of locks": func(random *rand.Rand) (string, []any) {
		return pick(random, `select pg_try_advisory_lock($1)`, `select pg_advisory_xact_lock_shared($1)`, `select pg_try_advisory_lock($1::int, 1), pg_try_advisory_lock($1::int, 2)`), []any{random.Int64N(1 << 31)}
	},
	"open transactions": func(*rand.Rand) (string, []any) {
		return `do $$ begin create temporary table if not exists kept (n) on commit drop as select txid_current() n; perform pg_notify('klingwatch.river_insert', 'x'), pg_sleep(0.3); end $$`, nil
	},
	"listening": func(random *rand.Rand) (string, []any) {
		return pick(random, `listen "klingwatch.river_insert"`, `listen "klingwatch.tasks"`, `listen "klingwatch.river_control"`, `unlisten *`), nil
	},
	"the lock of migrations": func(*rand.Rand) (string, []any) { return `select pg_try_advisory_lock(118130206996839)`, nil },
}

// worseAlone are attacks that others may undo.
var worseAlone = []string{"all tasks changed", "callbacks of all tasks", "forged processes", "many wake-ups", "open transactions", "pauses everything", "resignations"}

// besiege has sessions of a stranger do all of some attacks until stop is called.
func besiege(t *testing.T, pool *pgxpool.Pool, role string, seed uint64, names []string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i, name := range names {
		cfg := pool.Config().ConnConfig
		cfg.User, cfg.Password = role, dbtest.RolePassword
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			defer func() { _ = conn.Close(context.Background()) }()
			for ctx.Err() == nil {
				sql, args := attacks[name](random)
				if _, err := conn.Exec(ctx, sql, args...); err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				sleep(ctx, 10*time.Millisecond) // how fast it is, not how long we wait
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// Whatever sessions of a role do that may connect and has no rights: polls and
// deliveries go on at half of their rate or more, and a process that starts works.
func TestAStrangerInTheDatabaseStopsNothing(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t, func(c *klingsim.Config) { c.Lifetime = 50 * time.Millisecond })
	consumer := newConsumer(t, deploymentSecret(t, pool))
	cfg := config(t, pool, relayURL)
	cfg.PollRate = 100
	startWorker(t, cfg)
	ids := make([]string, watchedTasks)
	for i := range ids {
		ids[i] = fmt.Sprintf("never-%d", i)
	}
	track(t, pool, "videos/text2video", "", ids...)
	await(t, "all are polled", func() bool { return relay.Requests() > 2*watchedTasks })

	quick := 0
	measure := func() (polls, webhooks int) {
		asked, arrived := relay.Requests(), len(consumer.received())
		for end := time.Now().Add(siegeTime); time.Now().Before(end); {
			quick++
			track(t, pool, "images/generations", consumer.URL, fmt.Sprintf("quick-%d", quick))
			sleep(t.Context(), 50*time.Millisecond) // how often an app inserts
		}
		return relay.Requests() - asked, len(consumer.received()) - arrived
	}
	measure() // until it has got going
	usualPolls, usualWebhooks := measure()
	role := dbtest.NewRole(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	all := slices.Sorted(maps.Keys(attacks))
	sieges := [][]string{all}
	for _, name := range worseAlone {
		sieges = append(sieges, []string{name, name})
	}
	for i, names := range sieges {
		stop := besiege(t, pool, role, seed+uint64(i), names)
		polls, webhooks := measure()
		for n := 1; n < siegeTries && (polls < usualPolls/2 || webhooks < usualWebhooks/2); n++ {
			polls, webhooks = measure()
		}
		if polls < usualPolls/2 || webhooks < usualWebhooks/2 {
			t.Errorf("%v: %d polls and %d webhooks in %s, undisturbed %d and %d", names, polls, webhooks, siegeTime, usualPolls, usualWebhooks)
		}
		stop()
	}
	// a process that starts meanwhile finds a slot, and its share
	stop := besiege(t, pool, role, seed, all)
	startWorker(t, cfg)
	await(t, "two processes work", func() bool {
		n, err := db.LiveInstances(t.Context(), pool)
		return n == 2 && err == nil
	})
	stop()
	await(t, "all webhooks have arrived", func() bool { return len(consumer.received()) == quick })
}
