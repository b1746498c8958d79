package apis

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// callback is tasks whose end the relay tells at once, between two polls.
type callback struct {
	tasks int
	rate  float64 // per second
}

// calledAfter is when a task is called back about: after its first poll, and well before
// the second.
const calledAfter = 2 * time.Second

func (k callback) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	var latencies []float64
	err := b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: k.tasks, Polls: 2}); err != nil {
			return err
		}
		return b.WithService(ctx, contender.ServerRole, func(server *contender.Service) error {
			c, err := open(ctx, b, d, server)
			if err != nil {
				return err
			}
			token, err := operate.MakeCallbackToken(ctx, d.Pool, db.DefaultRelay)
			if err != nil {
				return err
			}
			called, err := k.call(ctx, c, operate.CallbackPath(db.DefaultRelay, token), b.Relay.HookURL())
			if err != nil {
				return err
			}
			latencies, err = k.join(ctx, b, called)
			return err
		})
	})
	if err != nil {
		return err
	}
	s.Add("callback_p50", "callback of Kling to the webhook of the task, p50", "ms", figures.Percentile(latencies, 0.50), figures.AtMost(50))
	s.Add("callback_p99", "callback of Kling to the webhook of the task, p99", "ms", figures.Percentile(latencies, 0.99), nil)
	return nil
}

// call tracks tasks, calls back about each a while later, and returns when, by their numbers.
func (k callback) call(ctx context.Context, c client, path, hook string) ([]time.Time, error) {
	called := make([]time.Time, k.tasks+1)
	lag := int(calledAfter.Seconds() * k.rate)
	for begun, step := time.Now(), 1; step <= k.tasks+lag; step++ {
		if err := bench.Pause(ctx, time.Until(begun.Add(time.Duration(float64(step)/k.rate*float64(time.Second))))); err != nil {
			return nil, err
		}
		if step <= k.tasks {
			task := newTask{TaskID: standin.TaskID(step), Action: standin.Action, Action2: standin.Action2, CallbackURL: hook + strconv.Itoa(step)}
			if err := c.call(ctx, http.MethodPost, "/v1/tasks", task, nil); err != nil {
				return nil, err
			}
		}
		if task := step - lag; task > 0 {
			body := fmt.Sprintf(`{"task_id":"%s","task_status":"succeed","task_status_msg":"","created_at":1760000000000,"updated_at":1760000009000}`, standin.TaskID(task))
			called[task] = time.Now()
			if _, err := c.send(ctx, http.MethodPost, path, []byte(body)); err != nil {
				return nil, err
			}
		}
	}
	return called, nil
}

// join waits for the webhooks, and returns how long each took.
func (k callback) join(ctx context.Context, b *bench.Bench, called []time.Time) (latencies []float64, err error) {
	moments, err := bench.Until(ctx, "all webhooks have come", answerLimit, b.Relay.Moments, func(moments []standin.Moments) bool {
		return !slices.ContainsFunc(moments[1:], func(m standin.Moments) bool { return m.Hook == 0 })
	})
	if err != nil {
		return nil, err
	}
	for task, m := range moments[1:] {
		since := called[task+1].UnixNano()
		if m.Ended < since {
			return nil, fmt.Errorf("task %d had ended before the callback", task+1)
		}
		latencies = append(latencies, figures.Milliseconds(time.Duration(m.Hook-since)))
	}
	return latencies, nil
}
