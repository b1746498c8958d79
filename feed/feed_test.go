package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/metrics"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	patience = 20 * time.Second // for what must come
	moment   = 50 * time.Millisecond
)

// must hands on a value; an error ends the test.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return value
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, q db.Querier, sql string, args ...any) {
	t.Helper()
	_, err := q.Exec(t.Context(), sql, args...)
	check(t, err)
}

// value reads a counter or a gauge.
func value(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var read dto.Metric
	check(t, m.Write(&read))
	return read.GetCounter().GetValue() + read.GetGauge().GetValue()
}

// started is a feed that runs until the test ends.
func started(t testing.TB, pool *pgxpool.Pool) *Feed {
	t.Helper()
	f := New(pool, &metrics.New().Feed, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return f
}

// addTask inserts a task of an app.
func addTask(t testing.TB, pool *pgxpool.Pool, taskID, app string) (id int64) {
	t.Helper()
	check(t, pool.QueryRow(t.Context(), `insert into klingwatch.tasks (task_id, action, action2, app) values ($1, 'videos', 'text2video', $2) returning id`, taskID, app).Scan(&id))
	return id
}

// tell writes n events of a task, or about an endpoint where it is 0, in one transaction.
func tell(t testing.TB, pool *pgxpool.Pool, task int64, eventType string, n int) {
	t.Helper()
	run(t, pool, `
		insert into klingwatch.events (event_id, task, sequence, type, payload)
		select 'msg_' || gen_random_uuid(), nullif($1::bigint, 0),
		       case when $1::bigint > 0 then i + coalesce((select max(sequence) from klingwatch.events where task = $1::bigint), 0) end, $2::text,
		       jsonb_build_object('type', $2::text, 'data', jsonb_build_object('id', $1::bigint))
		from generate_series(1, $3::int) i`, task, eventType, n)
}

// idsOf lists all events that there are.
func idsOf(t testing.TB, pool *pgxpool.Pool) []int64 {
	t.Helper()
	rows := must(pool.Query(t.Context(), `select id from klingwatch.events order by id`))(t)
	return must(pgx.CollectRows(rows, pgx.RowTo[int64]))(t)
}

// follow begins a stream that ends with the test.
func follow(t testing.TB, f *Feed, after int64, filter db.FeedFilter) *Stream {
	t.Helper()
	s := must(f.Follow(t.Context(), after, filter))(t)
	t.Cleanup(s.Close)
	return s
}

// take reads n ids from a stream.
func take(t testing.TB, s *Stream, n int) (ids []int64) {
	t.Helper()
	for len(ids) < n {
		frames, err := s.Next(t.Context(), patience)
		check(t, err)
		if len(frames) == 0 {
			t.Fatalf("%d of %d events came within %s", len(ids), n, patience)
		}
		for _, frame := range frames {
			ids = append(ids, frame.ID)
		}
	}
	return ids
}

// nothing fails the test where a stream has something.
func nothing(t testing.TB, s *Stream) {
	t.Helper()
	if frames, err := s.Next(t.Context(), moment); len(frames) > 0 || err != nil {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
}

func TestAStreamHasWhatIsKeptAndThenWhatComes(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	f := started(t, pool)
	task := addTask(t, pool, "t", "shop")
	tell(t, pool, task, "task.processing", 3*pageSize/2)
	s := follow(t, f, 0, db.FeedFilter{})
	got := take(t, s, 3*pageSize/2)
	nothing(t, s)
	tell(t, pool, task, "task.succeeded", 2)
	if got = append(got, take(t, s, 2)...); !slices.Equal(got, idsOf(t, pool)) || s.Cursor() != got[len(got)-1] {
		t.Errorf("%d events, the cursor is %d", len(got), s.Cursor())
	}
}

func TestAStreamOfTheLatestHasWhatComes(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	f := started(t, pool)
	tell(t, pool, 0, "endpoint.failing", 3)
	s := follow(t, f, Latest, db.FeedFilter{})
	if s.Cursor() != 3 {
		t.Errorf("it begins after %d", s.Cursor())
	}
	nothing(t, s)
	tell(t, pool, 0, "endpoint.failing", 1)
	if got := take(t, s, 1); got[0] != 4 {
		t.Errorf("events %v", got)
	}
}

// Events keep coming while streams begin at any of them, are read in any speed, and all
// sessions of the feed are ended again and again: each stream has all, in their order.
func TestNothingIsMissedHoweverTheDatabaseIsLost(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := must(db.Open(t.Context(), url, 10))(t)
	t.Cleanup(pool.Close)
	feeds := must(db.Open(t.Context(), url+"&application_name=feed", 10))(t)
	t.Cleanup(feeds.Close)
	f := started(t, feeds)
	task := addTask(t, pool, "t", "shop")
	writing, stop := context.WithCancel(t.Context())
	var writers, readers sync.WaitGroup
	for range 3 {
		writers.Go(func() {
			for n := 1; writing.Err() == nil; n++ {
				tell(t, pool, 0, "endpoint.failing", 1+n%40*(n%7/6)*20) // now and then more than is held
			}
		})
	}
	tell(t, pool, task, "task.submitted", 1)
	const streams = 12
	seen := make([][]int64, streams)
	for i := range streams {
		readers.Go(func() { seen[i] = readUntil(t, f, "task.succeeded", time.Duration(i%4)*time.Millisecond) })
	}
	for range 5 {
		time.Sleep(200 * time.Millisecond)
		run(t, pool, `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'feed' and datname = current_database()`)
	}
	stop()
	writers.Wait()
	tell(t, pool, task, "task.succeeded", 1)
	readers.Wait()
	all := idsOf(t, pool)
	for i, got := range seen {
		if !slices.Equal(got, all) {
			t.Errorf("stream %d has seen %d of %d events", i, len(got), len(all))
		}
	}
	t.Logf("%d events", len(all))
}

// readUntil reads all events up to one of a type, as a client that comes back with its
// cursor.
func readUntil(t *testing.T, f *Feed, eventType string, pace time.Duration) (ids []int64) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for cursor := int64(0); ctx.Err() == nil; {
		s, err := f.Follow(ctx, cursor, db.FeedFilter{})
		for err == nil {
			var frames []*Frame
			frames, err = s.Next(ctx, moment)
			for _, frame := range frames {
				ids = append(ids, frame.ID)
			}
			if n := len(frames); n > 0 && slices.Contains(typesOf(t, frames[n-1:]), eventType) {
				s.Close()
				return ids
			}
			cursor = s.Cursor()
			time.Sleep(pace)
		}
		if s != nil {
			s.Close()
		}
	}
	t.Errorf("the last event did not come within %s", patience)
	return ids
}

func TestAStreamEndsWhoseClientTakesNothing(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	f := started(t, pool)
	f.tooSlow = time.Millisecond
	idle, busy := follow(t, f, Latest, db.FeedFilter{}), follow(t, f, Latest, db.FeedFilter{})
	tell(t, pool, 0, "endpoint.failing", 1)
	take(t, idle, 1) // and then nothing more
	take(t, busy, 1)
	var got []int64
	for range 10 {
		tell(t, pool, 0, "endpoint.failing", ahead/5)
		got = append(got, take(t, busy, ahead/5)...)
	}
	if all := idsOf(t, pool); !slices.Equal(got, all[1:]) {
		t.Errorf("the other has %d of %d", len(got), len(all)-1)
	}
	held := take(t, idle, ahead)
	if frames, err := idle.Next(t.Context(), patience); len(frames) > 0 || !errors.Is(err, ErrSlow) {
		t.Errorf("%d frames more, %v", len(frames), err)
	}
	if n := value(t, f.metrics.FeedSlow); n != 1 || idle.Cursor() != held[ahead-1] {
		t.Errorf("%v were too slow; it goes on after %d", n, idle.Cursor())
	}
}

// A bulk action writes a thousand events in one transaction: no client could be fast enough.
func TestAStreamThatWaitsHasABurst(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	f := started(t, pool)
	f.tooSlow = 0
	s := follow(t, f, Latest, db.FeedFilter{})
	s.note(1)
	written := make(chan error, 1)
	go func() {
		for s.sub.busy.Load() != 0 { // until it waits
			time.Sleep(time.Millisecond)
		}
		_, err := pool.Exec(t.Context(), `insert into klingwatch.events (event_id, type, payload) select 'msg_' || i, 'endpoint.failing', '{}' from generate_series(1, $1::int) i`, 5*ahead)
		written <- err
	}()
	got := take(t, s, 5*ahead)
	check(t, <-written)
	if !slices.Equal(got, idsOf(t, pool)) {
		t.Errorf("%d events", len(got))
	}
}

// The query and the live stream choose alike.
func TestFiltersChooseTheSameKeptAndLive(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	f := started(t, pool)
	mine, old, theirs := addTask(t, pool, "mine", "shop"), addTask(t, pool, "old", ""), addTask(t, pool, "theirs", "blog")
	filters := []db.FeedFilter{
		{}, {Types: []string{"task.failed"}}, {Types: []string{"task.failed", "endpoint.failing"}}, {Task: mine}, {Task: theirs, App: "shop"},
		{App: "shop"}, {App: "blog", Types: []string{"task.failed"}}, {App: "nobody"}, {Task: mine, Types: []string{"endpoint.failing"}},
	}
	live := make([]*Stream, len(filters))
	for i, filter := range filters {
		live[i] = follow(t, f, Latest, filter)
	}
	for _, task := range []int64{mine, old, theirs} {
		tell(t, pool, task, "task.processing", 1)
		tell(t, pool, task, "task.failed", 1)
	}
	tell(t, pool, 0, "endpoint.failing", 1)
	tell(t, pool, 0, "endpoint.disabled", 1)
	want := []int{8, 3, 4, 2, 0, 2, 1, 0, 0}
	for i, filter := range filters {
		kept, next, more, err := f.Page(t.Context(), 0, filter, 100)
		if err != nil || len(kept) != want[i] || more || next < 2 && filter.Task == 0 {
			t.Errorf("%+v: %d kept, want %d; next %d, %v, %v", filter, len(kept), want[i], next, more, err)
		}
		if n := len(take(t, live[i], want[i])); n != want[i] {
			t.Errorf("%+v: %d live, want %d", filter, n, want[i])
		}
		nothing(t, live[i])
		if live[i].Cursor() != 8 {
			t.Errorf("%+v: the cursor is %d", filter, live[i].Cursor())
		}
	}
}

// However little a filter chooses, one question looks at ten thousand events at most.
func TestAPageOfAlmostNothingIsRead(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	f := started(t, pool)
	tell(t, pool, 0, "endpoint.failing", 10_001)
	tell(t, pool, 0, "endpoint.disabled", 1)
	rare := db.FeedFilter{Types: []string{"endpoint.disabled"}}
	if frames, next, more, err := f.Page(t.Context(), 0, rare, 10); len(frames) != 0 || next != 10_000 || !more || err != nil {
		t.Errorf("%d frames, next %d, more %v, %v", len(frames), next, more, err)
	}
	if got := take(t, follow(t, f, 0, rare), 1); got[0] != 10_002 {
		t.Errorf("events %v", got)
	}
}

// All clients of a process that was killed come back at once, with the same cursor.
func TestThoseWhoComeBackTogetherAreReadForOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	f := started(t, pool)
	tell(t, pool, addTask(t, pool, "one", ""), "task.succeeded", 3)
	ids := idsOf(t, pool)
	for range replays {
		f.reading <- struct{}{} // all turns are taken
	}
	const clients = 50
	var asking sync.WaitGroup
	for range clients {
		asking.Go(func() {
			page, err := f.read(t.Context(), ids[0], db.FeedFilter{}, pageSize)
			if err != nil || len(page.frames) != 3 {
				t.Errorf("got %d frames, %v; want those that came while the read waited, too", len(page.frames), err)
			}
		})
	}
	asked := func() (n int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, r := range f.asked {
			n += r.clients
		}
		return n
	}
	for deadline := time.Now().Add(patience); asked() < clients && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if len(f.asked) != 1 {
		t.Errorf("%d reads wait, want one for all", len(f.asked))
	}
	tell(t, pool, addTask(t, pool, "two", ""), "task.succeeded", 1)
	for range replays {
		<-f.reading
	}
	asking.Wait()
}

func TestACursorBeforeWhatWasDeletedIsTooOld(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	f := started(t, pool)
	old, young := addTask(t, pool, "old", "shop"), addTask(t, pool, "young", "shop")
	tell(t, pool, young, "task.submitted", 1)  // 1
	tell(t, pool, 0, "endpoint.failing", 1)    // 2
	tell(t, pool, old, "task.failed", 1)       // 3
	tell(t, pool, young, "task.processing", 1) // 4
	run(t, pool, `update klingwatch.tasks set status = 'failed', created_at = now() - interval '40 d', finished_at = now() - interval '40 d' where id = $1`, old)
	run(t, pool, `update klingwatch.events set created_at = now() - interval '40 d' where id = 2`)
	must(db.RefreshReports(t.Context(), pool))(t)
	oldest := func(after int64, filter db.FeedFilter) int64 {
		t.Helper()
		_, err := f.Follow(t.Context(), after, filter)
		if err == nil {
			return 0
		}
		var gone *CursorError
		if !errors.As(err, &gone) || gone.After != after {
			t.Fatal(err)
		}
		return gone.Oldest
	}
	if n := must(db.PruneEndpointEvents(t.Context(), pool, 30*24*time.Hour, 10))(t); n != 1 || oldest(0, db.FeedFilter{}) != 2 || oldest(1, db.FeedFilter{}) != 2 || oldest(2, db.FeedFilter{}) != 0 {
		t.Errorf("%d deleted, the oldest cursor is %d", n, oldest(0, db.FeedFilter{}))
	}
	if oldest(0, db.FeedFilter{App: "shop"}) != 0 || oldest(0, db.FeedFilter{Types: []string{"task.failed"}}) != 0 {
		t.Error("who does not want events about endpoints misses one")
	}
	if n := must(db.PruneTasks(t.Context(), pool, 30*24*time.Hour, 10))(t); n != 1 || oldest(2, db.FeedFilter{}) != 3 || oldest(3, db.FeedFilter{}) != 0 {
		t.Errorf("%d deleted, the oldest cursor is %d", n, oldest(2, db.FeedFilter{}))
	}
	if oldest(1, db.FeedFilter{Types: []string{"endpoint.failing"}}) != 2 {
		t.Error("who wants events about endpoints only misses one of a task")
	}
	if got := take(t, follow(t, f, 3, db.FeedFilter{}), 1); got[0] != 4 {
		t.Errorf("events %v", got)
	}
	var ahead *CursorError
	if _, err := f.Follow(t.Context(), 5, db.FeedFilter{}); !errors.As(err, &ahead) || ahead.Newest != 4 {
		t.Errorf("a cursor that is not there yet: %v", err)
	}
}

// A standby is promoted that lagged behind.
func TestStreamsEndWhenTheDatabaseHasLostEvents(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	f := started(t, pool)
	s := follow(t, f, Latest, db.FeedFilter{})
	tell(t, pool, 0, "endpoint.failing", 5)
	take(t, s, 5)
	run(t, pool, `delete from klingwatch.events where id > 2`)
	run(t, pool, `select setval('klingwatch.events_id_seq', 2)`)
	run(t, pool, `select pg_notify('klingwatch.events', '')`)
	if _, err := s.Next(t.Context(), patience); !errors.Is(err, ErrLostEvents) {
		t.Error(err)
	}
	s = follow(t, f, Latest, db.FeedFilter{})
	tell(t, pool, 0, "endpoint.failing", 1)
	if got := take(t, s, 1); got[0] != 3 {
		t.Errorf("events %v", got)
	}
}

func TestEverythingEndsWhenTheProcessStops(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	f := started(t, pool)
	s := follow(t, f, Latest, db.FeedFilter{})
	waited := make(chan error, 1)
	looked := make(chan struct{}, 1)
	go func() {
		waited <- f.Await(t.Context(), 1, func(context.Context) (bool, error) { looked <- struct{}{}; return false, nil })
	}()
	<-looked
	f.Close()
	if _, err := s.Next(t.Context(), patience); !errors.Is(err, ErrClosing) {
		t.Errorf("the stream: %v", err)
	}
	if err := <-waited; !errors.Is(err, ErrClosing) {
		t.Errorf("the wait: %v", err)
	}
	if _, err := f.Follow(t.Context(), Latest, db.FeedFilter{}); !errors.Is(err, ErrClosing) {
		t.Errorf("a later stream: %v", err)
	}
	for _, kind := range metrics.Listeners {
		if n := value(t, f.metrics.FeedListeners.WithLabelValues(kind)); n != 0 {
			t.Errorf("%v of kind %s listen", n, kind)
		}
	}
}

func TestWhileNobodyListensTheDatabaseIsNotAsked(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	f := started(t, pool)
	tell(t, pool, 0, "endpoint.failing", 3)
	const sessions = `select count(*) from pg_stat_activity where datname = current_database() and query ilike '%listen%' and pid <> pg_backend_pid()`
	var n int
	check(t, pool.QueryRow(t.Context(), sessions).Scan(&n))
	if reads := value(t, f.metrics.FeedReads); n != 0 || reads != 0 {
		t.Errorf("%d sessions, %v reads", n, reads)
	}
}

// Waiting takes no connection, and little memory.
func TestThousandsWaitForTheirTasks(t *testing.T) {
	pool := dbtest.New(t)
	f := started(t, pool)
	const waiters = 5000
	run(t, pool, `insert into klingwatch.tasks (task_id, action, action2) select 't' || i, 'videos', 'text2video' from generate_series(1, $1::int) i`, waiters)
	before := memory()
	var looked, ended sync.WaitGroup
	looked.Add(waiters)
	for i := range waiters {
		ended.Go(func() {
			looks := 0
			err := f.Await(t.Context(), int64(i+1), func(context.Context) (bool, error) {
				if looks++; looks == 1 {
					looked.Done()
				}
				return looks > 1, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	looked.Wait()
	if used := memory() - before; used > 64<<20 {
		t.Errorf("%d waiters take %d KiB each", waiters, used/waiters>>10)
	}
	begun := time.Now()
	run(t, pool, `insert into klingwatch.events (event_id, task, sequence, type, payload) select 'msg_' || id, id, 1, 'task.failed', '{}' from klingwatch.tasks`)
	ended.Wait()
	t.Logf("all were told within %s", time.Since(begun))
	if n := value(t, f.metrics.FeedListeners.WithLabelValues(metrics.ListenerWait)); n != 0 || len(f.waits) != 0 {
		t.Errorf("%v still wait, of %d tasks", n, len(f.waits))
	}
}

// memory is what the heap and the stacks take.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func typesOf(t testing.TB, frames []*Frame) (types []string) {
	t.Helper()
	for _, frame := range frames {
		types = append(types, fmt.Sprint(decoded(t, frame)["type"]))
	}
	return types
}
