package latencies

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// insertHistory inserts tasks that have succeeded, each after its life.
func insertHistory(ctx context.Context, d *bench.Database, lives []time.Duration) error {
	seconds := make([]float64, len(lives))
	for i, life := range lives {
		seconds[i] = life.Seconds()
	}
	_, err := d.Exec(ctx, `
		insert into klingwatch.tasks (task_id, action, action2, status, created_at, finished_at)
		select 'past-' || nth, @action, @action2, 'succeeded', now() - interval '1 day', now() - interval '1 day' + make_interval(secs => life)
		from unnest(@lives::float8[]) with ordinality as past (life, nth)`,
		pgx.StrictNamedArgs{"action": standin.Action, "action2": standin.Action2, "lives": seconds})
	if err != nil {
		return fmt.Errorf("inserting %d tasks that have ended: %w", len(lives), err)
	}
	return nil
}

// insertTask inserts a task as an app does.
func insertTask(ctx context.Context, d *bench.Database, number int, action2, hook string) error {
	_, err := d.Exec(ctx, `insert into klingwatch.tasks (task_id, action, action2, callback_url) values (@id, @action, @action2, @hook)`,
		pgx.StrictNamedArgs{"id": standin.TaskID(number), "action": standin.Action, "action2": action2, "hook": hook})
	if err != nil {
		return fmt.Errorf("inserting task %d: %w", number, err)
	}
	return nil
}
