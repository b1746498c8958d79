package operate

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/schedule"
	"github.com/klingwatch/klingwatch/webhook"
)

// TaskView is a task with everything that belongs to it.
type TaskView struct {
	db.Task
	Expected   *Expected      `json:"expected"` // null for a task that has ended, and where too few are known
	Outputs    []db.Output    `json:"outputs"`
	Events     []db.Event     `json:"events"`
	Deliveries []TaskDelivery `json:"deliveries"`
}

// TaskDelivery is a delivery with its attempts.
type TaskDelivery struct {
	db.Delivery
	AttemptLog []db.Attempt `json:"attempt_log"`
}

// Expected is when a running task ends, going by recent ones of its type.
type Expected struct {
	P50 time.Time `json:"p50"` // half of those that got this old have ended by then
	P90 time.Time `json:"p90"` // nine tenths
}

// Schedules are what is known of how long tasks run, by type.
type Schedules map[schedule.TaskType]*schedule.Schedule

// LearnSchedules reads how long recent tasks ran; interval is
// KLINGWATCH_POLL_INTERVAL.
func LearnSchedules(ctx context.Context, pool *pgxpool.Pool, interval time.Duration) (Schedules, error) {
	return schedule.LearnSchedules(ctx, pool, interval)
}

// expect returns when a running task ends; nil where that is not known.
func (s Schedules) expect(task db.Task) *Expected {
	known := s[schedule.TaskType{Relay: task.Relay, Action: task.Action, Action2: task.Action2}]
	if known == nil || db.Terminal(task.Status) {
		return nil
	}
	now := time.Now()
	p50, ok50 := known.Remaining(now.Sub(task.CreatedAt), 0.5)
	p90, ok90 := known.Remaining(now.Sub(task.CreatedAt), 0.9)
	if !ok50 || !ok90 {
		return nil
	}
	return &Expected{P50: now.Add(p50), P90: now.Add(p90)}
}

// ViewTask reads everything that belongs to a task; without schedules its
// expected end is not known.
func ViewTask(ctx context.Context, pool *pgxpool.Pool, task db.Task, schedules Schedules) (view TaskView, err error) {
	view = TaskView{Task: task, Expected: schedules.expect(task)}
	if view.Outputs, err = db.OutputsOfTask(ctx, pool, task.ID); err != nil {
		return view, fmt.Errorf("reading the outputs of task %d: %w", task.ID, err)
	}
	if view.Events, err = db.EventsOfTask(ctx, pool, task.ID); err != nil {
		return view, fmt.Errorf("reading the events of task %d: %w", task.ID, err)
	}
	if view.Deliveries, err = deliveriesOf(ctx, pool, task.ID); err != nil {
		return view, fmt.Errorf("reading the deliveries of task %d: %w", task.ID, err)
	}
	return view, nil
}

// deliveriesOf reads a task's deliveries with their attempts.
func deliveriesOf(ctx context.Context, pool *pgxpool.Pool, task int64) ([]TaskDelivery, error) {
	deliveries, err := db.DeliveriesOfTask(ctx, pool, task)
	if err != nil {
		return nil, err
	}
	ids, loaded := make([]int64, len(deliveries)), make([]TaskDelivery, len(deliveries))
	place := map[int64]int{}
	for i, delivery := range deliveries {
		ids[i], loaded[i], place[delivery.ID] = delivery.ID, TaskDelivery{delivery, []db.Attempt{}}, i
	}
	attempts, err := db.AttemptsOf(ctx, pool, ids)
	for _, a := range attempts {
		at := &loaded[place[a.Delivery]]
		at.AttemptLog = append(at.AttemptLog, a)
	}
	return loaded, err
}

// DeliveryView is a delivery with all that is known of it.
type DeliveryView struct {
	db.Delivery
	Headers    [][2]string  `json:"request_headers"` // of the last attempt, or of the next; signatures are left out
	Body       any          `json:"body"`            // the JSON that its receiver gets
	AttemptLog []db.Attempt `json:"attempt_log"`

	RawBody []byte `json:"-"` // Body, as it is sent
}

// ViewDelivery reads all that is known of a delivery; userAgent is what webhooks
// are sent with.
func ViewDelivery(ctx context.Context, pool *pgxpool.Pool, id int64, userAgent string) (view DeliveryView, err error) {
	if view.Delivery, err = db.GetDelivery(ctx, pool, id); err != nil {
		return view, deliveryError(id, "reading", err)
	}
	payload, thin, err := db.EventPayload(ctx, pool, id)
	if err != nil {
		return view, deliveryError(id, "reading", err)
	}
	view.RawBody = payload
	if thin {
		if view.RawBody, err = webhook.Thin(payload); err != nil {
			return view, fmt.Errorf("making the body of delivery %d: %w", id, err)
		}
		payload = view.RawBody
	}
	view.Body = payload
	if view.AttemptLog, err = db.AttemptsOf(ctx, pool, []int64{id}); err != nil {
		return view, deliveryError(id, "reading", err)
	}
	view.Headers = requestHeaders(view, userAgent)
	return view, nil
}

// requestHeaders are what a receiver gets, without the signatures.
func requestHeaders(v DeliveryView, userAgent string) [][2]string {
	timestamp := "(unix seconds of the attempt)"
	if n := len(v.AttemptLog); n > 0 {
		timestamp = strconv.FormatInt(v.AttemptLog[n-1].StartedAt.Unix(), 10)
	}
	return [][2]string{
		{"content-type", "application/json"},
		{"user-agent", userAgent},
		{"webhook-id", v.EventID},
		{"webhook-timestamp", timestamp},
		{"webhook-signature", "v1,(hidden) v1a,(hidden)"},
	}
}
