package apis

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/completions"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// callback is tasks whose end the relay tells at once; their next poll is a day away.
type callback struct {
	tasks int
	rate  float64 // per second
}

func (k callback) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	var latencies []float64
	err := b.WithDatabase(ctx, func(d *bench.Database) error {
		hooks := make([]string, k.tasks)
		for task := 1; task <= k.tasks; task++ {
			hooks[task%k.tasks] = b.Relay.HookURL() + strconv.Itoa(task)
		}
		if err := completions.Prepare(ctx, d, k.tasks, hooks); err != nil {
			return err
		}
		if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: k.tasks, Polls: 1}); err != nil {
			return err
		}
		return b.WithService(ctx, contender.ServerRole, func(server *contender.Service) (err error) {
			c, err := open(ctx, b, d, server)
			if err != nil {
				return err
			}
			latencies, err = k.call(ctx, b, d, c)
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

// call calls back about one task after the other, and returns how soon the webhooks came.
func (k callback) call(ctx context.Context, b *bench.Bench, d *bench.Database, c client) ([]float64, error) {
	token, err := operate.MakeCallbackToken(ctx, d.Pool, db.DefaultRelay)
	if err != nil {
		return nil, err
	}
	if err := bench.Pause(ctx, 2*bench.Settle); err != nil {
		return nil, err
	}
	called := make([]time.Time, k.tasks+1)
	for begun, task := time.Now(), 1; task <= k.tasks; task++ {
		if err := bench.Pause(ctx, time.Until(begun.Add(time.Duration(float64(task)/k.rate*float64(time.Second))))); err != nil {
			return nil, err
		}
		body := fmt.Sprintf(`{"task_id":"%s","task_status":"succeed","task_status_msg":"","created_at":1760000000000,"updated_at":1760000009000}`, standin.TaskID(task))
		called[task] = time.Now()
		if _, err := c.send(ctx, http.MethodPost, operate.CallbackPath(db.DefaultRelay, token), []byte(body)); err != nil {
			return nil, err
		}
	}
	all := func(moments []standin.Moments) bool {
		for _, m := range moments[1:] {
			if m.Hook == 0 {
				return false
			}
		}
		return true
	}
	moments, err := bench.Until(ctx, "all webhooks have come", answerLimit, b.Relay.Moments, all)
	var latencies []float64
	for task := 1; task <= k.tasks && err == nil; task++ {
		latencies = append(latencies, figures.Milliseconds(time.Duration(moments[task].Hook-called[task].UnixNano())))
	}
	return latencies, err
}
