package apis

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// post is many tasks by one request, and as many by COPY, in turns.
type post struct {
	tasks  int // of a request
	rounds int
	rest   time.Duration // before each, in which the worker takes the tasks before
}

// newTask is what an app says of a task.
type newTask struct {
	TaskID      string            `json:"task_id"`
	Action      string            `json:"action"`
	Action2     string            `json:"action2"`
	ExternalID  string            `json:"external_id,omitempty"`
	CallbackURL string            `json:"callback_url,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// batch returns the tasks of a round; no two rounds have one in common.
func (p post) batch(round int) []newTask {
	tasks := make([]newTask, p.tasks)
	for i := range tasks {
		number := round*p.tasks + i + 1
		tasks[i] = newTask{
			standin.TaskID(number), standin.Action, standin.Action2, fmt.Sprintf("order-%d", number), "https://app.example/hooks/kling",
			map[string]string{"user": fmt.Sprint(number % 1000), "plan": "pro"},
		}
	}
	return tasks
}

func (p post) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	var posts, copies []float64
	err := b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: 2 * (p.rounds + 1) * p.tasks, Polls: standin.Never}); err != nil {
			return err
		}
		return b.WithService(ctx, contender.ServerRole, func(server *contender.Service) error {
			c, err := open(ctx, b, d, server)
			if err != nil {
				return err
			}
			for round := range p.rounds + 1 { // the first opens connections, and does not count
				posted, err := p.timed(ctx, posting(ctx, c, p.batch(2*round)))
				if err != nil {
					return err
				}
				copied, err := p.timed(ctx, copying(ctx, d, p.batch(2*round+1)))
				if err != nil {
					return err
				}
				if round > 0 {
					posts, copies = append(posts, posted), append(copies, copied)
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	posted, copied := figures.Median(posts), figures.Median(copies)
	s.Add("post_ms", fmt.Sprintf("POST of %d tasks", p.tasks), "ms", posted, nil)
	s.Add("copy_ms", fmt.Sprintf("COPY of %d tasks", p.tasks), "ms", copied, nil)
	s.Add("post_part_of_copy", "tasks per second: POST : COPY", "", figures.Ratio(copied, posted), figures.AtLeast(0.5))
	return nil
}

// timed returns how long something takes, in milliseconds, once the worker has taken the
// tasks before.
func (p post) timed(ctx context.Context, do func() error) (float64, error) {
	if err := bench.Pause(ctx, p.rest); err != nil {
		return 0, err
	}
	begun := time.Now()
	err := do()
	return figures.Milliseconds(time.Since(begun)), err
}

// posting posts tasks.
func posting(ctx context.Context, c client, tasks []newTask) func() error {
	body, err := json.Marshal(tasks)
	return func() error {
		if err == nil {
			_, err = c.send(ctx, http.MethodPost, "/v1/tasks", body)
		}
		return err
	}
}

// copying copies tasks into the table, as an app with a connection does.
func copying(ctx context.Context, d *bench.Database, tasks []newTask) func() error {
	return func() error {
		columns := []string{"task_id", "action", "action2", "external_id", "callback_url", "metadata"}
		_, err := d.CopyFrom(ctx, pgx.Identifier{"klingwatch", "tasks"}, columns, pgx.CopyFromSlice(len(tasks), func(i int) ([]any, error) {
			t := tasks[i]
			return []any{t.TaskID, t.Action, t.Action2, t.ExternalID, t.CallbackURL, t.Metadata}, nil
		}))
		if err != nil {
			return fmt.Errorf("copying tasks: %w", err)
		}
		return nil
	}
}
