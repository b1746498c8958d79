package schedule

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func TestSchedulesAreLearnedFromTasksOfEachType(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	const interval = 5 * time.Second
	insert := func(path string, n int, status, age string) {
		t.Helper()
		action, action2, _ := strings.Cut(path, "/")
		if _, err := pool.Exec(t.Context(), `
			insert into klingwatch.tasks (task_id, action, action2, status, created_at, finished_at)
			select gen_random_uuid()::text, $1, $2, $3, now() - interval '1 h', case when $3 <> 'processing' then now() - interval '1 h' + $4::interval + i * interval '1 s' end
			from generate_series(1, $5::int) i`, action, action2, status, age, n); err != nil {
			t.Fatal(err)
		}
	}
	insert("videos/text2video", MinSamples, "succeeded", "1 min")
	insert("videos/text2video", 10, "processing", "0")
	insert("images/generations", MinSamples/2, "succeeded", "5 s")
	insert("images/generations", MinSamples/2+1, "failed", "5 s")
	insert("videos/lip-sync", MinSamples-1, "succeeded", "1 min")
	insert("videos/lip-sync", MinSamples, "expired", "1 min")
	schedules, err := LearnSchedules(t.Context(), pool, interval)
	if err != nil || len(schedules) != 2 {
		t.Fatalf("%d types were learned, %v", len(schedules), err)
	}
	for of, want := range map[TaskType][2]time.Duration{{"default", "videos", "text2video"}: {time.Minute, 2 * time.Minute}, {"default", "images", "generations"}: {5 * time.Second, 35 * time.Second}} {
		median, known := schedules[of].Remaining(0, 0.5)
		if !known || median < want[0] || median > want[1] {
			t.Errorf("%v: half have ended after %s, want a time from %s to %s", of, median, want[0], want[1])
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := LearnSchedules(ended, pool, interval); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "reading the durations of recent tasks: ") {
		t.Errorf("a caller who left: %v", err)
	}
}
