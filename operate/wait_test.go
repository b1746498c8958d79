package operate_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
)

func TestWaitReportsEachTaskOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "first", "second", "third")
	cancel(t, pool, ids[0])
	var ended []db.TaskStatus
	err := operate.Wait(t.Context(), pool, []int64{ids[2], ids[0], 99, ids[1], ids[0]}, func(task db.TaskStatus) {
		ended = append(ended, task)
		switch task.ID { // each end brings about the next
		case ids[0]:
			cancel(t, pool, ids[1])
		case ids[1]:
			exec(t, pool, `delete from klingwatch.tasks where task_id = 'third'`)
		}
	})
	want := []db.TaskStatus{
		{ID: ids[0], TaskID: "first", Status: db.Canceled, StatusMessage: "tracking was stopped by a person"},
		{ID: 99}, // never was
		{ID: ids[1], TaskID: "second", Status: db.Canceled, StatusMessage: "tracking was stopped by a person"},
		{ID: ids[2]}, // deleted meanwhile
	}
	if err != nil || !slices.Equal(ended, want) {
		t.Errorf("%+v, want %+v (%v)", ended, want, err)
	}
	if err := operate.Wait(t.Context(), pool, nil, func(task db.TaskStatus) { t.Errorf("%+v", task) }); err != nil {
		t.Errorf("waiting for nothing: %v", err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "ends", "goes-on")
	cancel(t, pool, ids[0])
	ctx, stop := context.WithCancel(t.Context())
	var ended []int64
	err := operate.Wait(ctx, pool, ids, func(task db.TaskStatus) {
		ended = append(ended, task.ID)
		stop() // after the first look; the second would come in a moment
	})
	if !errors.Is(err, context.Canceled) || !slices.Equal(ended, ids[:1]) {
		t.Errorf("%d ended, %v", ended, err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := operate.Wait(stopped, pool, ids, func(db.TaskStatus) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// Waiting for sixteen times as many tasks takes about sixteen times the work,
// where comparing each with each would take 256 times as much. Not parallel: it
// measures the CPU time of this process, which other programs do not change.
func TestTheWorkOfWaitingGrowsWithTheNumberOfTasks(t *testing.T) {
	const few, many, most = 1_000, 16_000, 64
	pool := dbtest.New(t)
	exec(t, pool,
		`alter table klingwatch.tasks disable trigger user`, // no jobs for them
		fmt.Sprintf(`insert into klingwatch.tasks (task_id, action, action2, status, finished_at)
		 select 't' || i, 'videos', 'text2video', 'succeeded', now() from generate_series(1, %d) i`, many))
	ofFew, ofMany := waiting(t, pool, few, 32), waiting(t, pool, many, 4)
	t.Logf("%s of CPU time for %d tasks, %s for %d", ofFew, few, ofMany, many)
	if ofMany > most*ofFew {
		t.Errorf("%d times the tasks take %d times the work", many/few, ofMany/ofFew)
	}
}

// waiting returns the mean CPU time of some looks at n tasks, which have all ended.
func waiting(t *testing.T, pool *pgxpool.Pool, n, looks int) time.Duration {
	t.Helper()
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(n - i) // the worst order
	}
	runtime.GC() // what others left behind is not counted
	before := cpuTime(t)
	for range looks {
		ended := 0
		if err := operate.Wait(t.Context(), pool, ids, func(db.TaskStatus) { ended++ }); err != nil || ended != n {
			t.Fatalf("%d of %d ended, %v", ended, n, err)
		}
	}
	return (cpuTime(t) - before) / time.Duration(looks)
}

// cpuTime is what this process has used so far.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
