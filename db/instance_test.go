package db_test

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// connect opens a connection of its own to the pool's database.
func connect(t testing.TB, pool *pgxpool.Pool) *pgx.Conn {
	t.Helper()
	conn := must(pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig))(t)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// instance is a process that lives until its connection is closed.
func instance(t testing.TB, pool *pgxpool.Pool) (conn *pgx.Conn, slot int) {
	t.Helper()
	conn = connect(t, pool)
	return conn, must(db.ClaimInstance(t.Context(), conn))(t)
}

// awaitInstances waits until the server has noticed who is gone.
func awaitInstances(t testing.TB, pool *pgxpool.Pool, want int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); must(db.LiveInstances(t.Context(), pool))(t) != want; {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %d instances", want)
		}
	}
}

func TestInstancesThatStartAtOnceHaveSlotsOfTheirOwn(t *testing.T) {
	t.Parallel()
	const processes = 6
	pool := dbtest.New(t)
	if n := must(db.LiveInstances(t.Context(), pool))(t); n != 0 {
		t.Errorf("%d instances before any started", n)
	}
	var (
		wg    sync.WaitGroup
		conns [processes]*pgx.Conn
		slots [processes]int
		errs  [processes]error
	)
	for i := range processes {
		conns[i] = connect(t, pool)
		wg.Go(func() { slots[i], errs[i] = db.ClaimInstance(t.Context(), conns[i]) })
	}
	wg.Wait()
	for _, err := range errs {
		check(t, err)
	}
	third := slices.Index(slots[:], 3)
	if sorted := slices.Sorted(slices.Values(slots[:])); !slices.Equal(sorted, []int{1, 2, 3, 4, 5, 6}) {
		t.Fatalf("slots %v", slots)
	}
	awaitInstances(t, pool, processes)
	check(t, conns[third].Close(t.Context()))
	awaitInstances(t, pool, processes-1)
	if _, slot := instance(t, pool); slot != 3 {
		t.Errorf("the next one has slot %d, 3 is free", slot)
	}
	// another database of the server has instances of its own
	elsewhere := dbtest.New(t)
	if _, slot := instance(t, elsewhere); slot != 1 {
		t.Errorf("in another database the first slot is %d", slot)
	}
	if here, there := must(db.LiveInstances(t.Context(), pool))(t), must(db.LiveInstances(t.Context(), elsewhere))(t); here != processes || there != 1 {
		t.Errorf("%d instances here, %d in the other database", here, there)
	}
}

// A process that is stopped, or whose host has vanished, says nothing any more.
func TestTheServerEndsAnInstanceThatSaysNothing(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	conn, _ := instance(t, pool)
	if got := value[string](t, conn, `select current_setting('idle_session_timeout')`); got != "10s" {
		t.Errorf("idle_session_timeout is %s", got)
	}
	run(t, conn, `set idle_session_timeout = '50ms'`)
	awaitInstances(t, pool, 0)
	if _, err := conn.Exec(t.Context(), `select 1`); db.OutageOf(err) != db.Unreachable {
		t.Errorf("the process finds %v", err)
	}
	if _, err := db.ClaimInstance(t.Context(), conn); err == nil || !strings.HasPrefix(err.Error(), "preparing the instance's connection: ") {
		t.Errorf("claiming a slot on that connection: %v", err)
	}
}

func TestInstancesShareTheWorkByTheirTasks(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	first, slot := instance(t, pool)
	second, other := instance(t, pool)
	share := func(conn *pgx.Conn, slot, tasks int, needs float64, instances int, want float64) {
		t.Helper()
		n, got, err := db.ShareWork(t.Context(), conn, slot, db.Work{Tasks: tasks, Needs: needs, Asks: "1234abcd"})
		if err != nil || n != instances || math.Abs(got-want) > 1e-9 {
			t.Errorf("with %d tasks that need %v: %d instances, a share of %v, %v; want %d and %v", tasks, needs, n, got, err, instances, want)
		}
	}
	share(first, slot, 30, 0, 2, 0.5) // the other has not reported yet: it counts as having as many, and as needing all
	// the rate is short
	share(second, other, 10, 1.5, 2, 0.25)
	share(first, slot, 30, 0.5, 2, 0.75)
	share(second, other, 0, 0.5, 2, 1.0/31)
	// a fifth of it is needed: of four fifths, each has half
	share(first, slot, 30, 0.2, 2, 0.7*30/31+0.3/2)
	share(second, other, 0, 0, 2, 0.2/31+0.8/2)
	share(first, slot, 30, 0.2, 2, 0.2*30/31+0.8/2)
	share(first, slot, 0, 0, 2, 0.5)
	if names := value[int](t, pool, `select count(*) from pg_stat_activity where datname = current_database() and application_name in ('klingwatch kw1 tasks=0 needs=0 asks=1234abcd', 'klingwatch kw2 tasks=0 needs=0 asks=1234abcd')`); names != 2 {
		t.Errorf("%d connections have their names", names)
	}
	check(t, second.Close(t.Context()))
	awaitInstances(t, pool, 1)
	share(first, slot, 7, 0.3, 1, 1)
	if _, _, err := db.ShareWork(t.Context(), second, other, db.Work{}); err == nil || !strings.HasPrefix(err.Error(), "sharing the work: ") {
		t.Errorf("on a closed connection: %v", err)
	}
}

func TestProcessesSeeWhatTheOthersAsk(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	asked := func(asks string) bool {
		t.Helper()
		return must(db.AskedByAnybody(t.Context(), pool, asks))(t)
	}
	if asked("1234abcd") {
		t.Error("asked, although nobody works")
	}
	conn := must(pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig))(t)
	defer conn.Close(t.Context())
	slot := must(db.ClaimInstance(t.Context(), conn))(t)
	if !asked("1234abcd") {
		t.Error("a process that shows nothing, like one of an older version, may ask anything")
	}
	if _, _, err := db.ShareWork(t.Context(), conn, slot, db.Work{Tasks: 3, Asks: "1234abcd"}); err != nil {
		t.Fatal(err)
	}
	if n := must(db.InstancesAskingElse(t.Context(), pool, "1234abcd"))(t); n != 0 {
		t.Errorf("%d ask something else", n)
	}
	if n := must(db.InstancesAskingElse(t.Context(), pool, "00000000"))(t); n != 1 {
		t.Errorf("%d ask something else, one was wanted", n)
	}
	if !asked("1234abcd") || asked("00000000") {
		t.Errorf("what it shows is asked: %v; something else: %v", asked("1234abcd"), asked("00000000"))
	}
}

// Two processes share the tasks: each answers for its own, and what nobody has stays
// unanswered.
func TestProcessesAreAskedWhatTheyPoll(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ctx, stop := context.WithCancel(t.Context())
	var processes sync.WaitGroup
	t.Cleanup(func() { stop(); processes.Wait() })
	for n := range int64(2) {
		process := must(pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig))(t)
		check(t, db.ListenForChanges(t.Context(), process))
		processes.Go(func() {
			defer func() { _ = process.Close(context.WithoutCancel(ctx)) }()
			for {
				note, err := process.WaitForNotification(ctx)
				if err != nil {
					return
				}
				question, ok := db.ReadLiveQuestion(note.Payload)
				if !ok {
					continue // the note of a change
				}
				_ = db.AnswerLive(ctx, process, question, []db.LivePoll{{Task: n + 1, Instance: db.InstanceID(int(n) + 1), Polls: 7, Due: time.Second}})
			}
		})
	}
	check(t, db.NotifyChange(t.Context(), pool, 1))
	want := map[int64]db.LivePoll{1: {Task: 1, Instance: "kw1", Polls: 7, Due: time.Second}, 2: {Task: 2, Instance: "kw2", Polls: 7, Due: time.Second}}
	if live := must(db.AskLive(t.Context(), connect(t, pool), []int64{1, 2}))(t); !maps.Equal(live, want) {
		t.Errorf("%+v", live)
	}
	limited, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if live := must(db.AskLive(limited, connect(t, pool), []int64{2, 3}))(t); len(live) != 1 || live[2] != want[2] {
		t.Errorf("with one that nobody has: %+v", live)
	}
}

// A stranger must not have a process write into a channel that means something.
func TestAQuestionIsAnsweredOnlyOnAChannelForAnswers(t *testing.T) {
	t.Parallel()
	for note, want := range map[string]bool{
		`{"answer_to": "klingwatch.answer-ABCDEFGHIJKLMNOPQRSTUVWX", "tasks": [1]}`: true,
		`{"answer_to": "klingwatch.river_insert", "tasks": [1]}`:                    false,
		`{"answer_to": "klingwatch.answer-", "tasks": [1]}`:                         false,
		`17`: false, `garbage`: false, `{}`: false,
		`{"answer_to": "klingwatch.answer-ABCDEFGHIJKLMNOPQRSTUVWX", "tasks": [` + strings.Repeat("1,", 200) + `1]}`: false,
	} {
		if _, ok := db.ReadLiveQuestion(note); ok != want {
			t.Errorf("%.80s: %v", note, ok)
		}
	}
}

// A process of the version before shows its tasks only: the rate is shared by tasks then,
// as it does it.
func TestAnOlderProcessKeepsItsShare(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	conn, slot := instance(t, pool)
	older, _ := instance(t, pool)
	run(t, older, `set application_name = 'klingwatch kw2 tasks=30 asks=1234abcd'`)
	if n, share, err := db.ShareWork(t.Context(), conn, slot, db.Work{Tasks: 10, Needs: 0.1, Asks: "1234abcd"}); n != 2 || share != 0.25 || err != nil {
		t.Errorf("%d instances, a share of %v, %v", n, share, err)
	}
}
