package operate

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/lookback"
	"github.com/klingwatch/klingwatch/schedule"
	"github.com/klingwatch/klingwatch/webhook"
)

// TaskView is a task with everything that belongs to it.
type TaskView struct {
	db.Task
	Now        *Now           `json:"now"`      // null for a task that no process polls now, or whose process did not answer
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

// Now is what the process knows that polls a task.
type Now struct {
	Instance   string     `json:"instance"`
	Asking     bool       `json:"asking"`       // a request is under way
	AnsweredAt *time.Time `json:"answered_at"`  // null: not yet since the process took the task
	NextPollAt time.Time  `json:"next_poll_at"` // in the past: it waits for its turn
}

// liveWait bounds how long ViewTasks waits for the processes: they answer within
// milliseconds.
const liveWait = time.Second

// ViewTasks reads everything that belongs to the tasks with an id (see FindTasks), as of
// one moment; without schedules their expected end is not known. How open tasks are
// polled is asked of the processes that poll them.
func ViewTasks(ctx context.Context, pool *pgxpool.Pool, id string, schedules Schedules) (views []TaskView, err error) {
	tasks, err := FindTasks(ctx, pool, id)
	if err != nil {
		return nil, err
	}
	live := askLive(ctx, pool, tasks)
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, pool, snapshot, func(tx pgx.Tx) error {
		if tasks, err = FindTasks(ctx, tx, id); err != nil {
			return err
		}
		for _, task := range tasks {
			view, err := ViewTask(ctx, tx, task, schedules)
			if err != nil {
				return err
			}
			view.Now = bring(&view.Task, live[task.ID])
			views = append(views, view)
		}
		return nil
	})
	return views, err
}

// ViewTaskNow is ViewTask with what the process knows that polls the task.
func ViewTaskNow(ctx context.Context, pool *pgxpool.Pool, task db.Task, schedules Schedules) (view TaskView, err error) {
	live := askLive(ctx, pool, []db.Task{task})
	if view, err = ViewTask(ctx, pool, task, schedules); err == nil {
		view.Now = bring(&view.Task, live[task.ID])
	}
	return view, err
}

// askLive asks the processes about tasks that they poll. What cannot be asked is not
// known; that hides nothing else of the tasks.
func askLive(ctx context.Context, pool *pgxpool.Pool, tasks []db.Task) map[int64]db.LivePoll {
	var polled []int64
	for _, task := range tasks {
		if task.PolledBy != nil {
			polled = append(polled, task.ID)
		}
	}
	if len(polled) == 0 {
		return nil
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil
	}
	own := conn.Hijack() // it goes on listening: nobody else is to have it
	defer func() { _ = own.Close(context.WithoutCancel(ctx)) }()
	ctx, cancel := context.WithTimeout(ctx, liveWait)
	defer cancel()
	live, err := db.AskLive(ctx, own, polled)
	if err != nil {
		return nil
	}
	return live
}

// bring brings a task up to date with what the process knows that polls it; nil where it
// did not answer, or the task has left it meanwhile.
func bring(t *db.Task, live db.LivePoll) *Now {
	if t.PolledBy == nil || live.Instance != *t.PolledBy {
		return nil
	}
	at := time.Now().UTC()
	now := &Now{Instance: live.Instance, Asking: live.Asking, NextPollAt: at.Add(live.Due)}
	t.Polls, t.NextPollAt = max(t.Polls, live.Polls), &now.NextPollAt
	if live.Answered > 0 {
		answered := at.Add(-live.Answered)
		now.AnsweredAt, t.LastPolledAt = &answered, &answered
	}
	return now
}

// ListTasks returns a page of the tasks of a choice, newest first, as db.ListTasks does, with
// polls as of now.
func ListTasks(ctx context.Context, pool *pgxpool.Pool, c db.TaskChoice, search lookback.Search) (db.Page[db.Task], error) {
	page, err := db.ListTasks(ctx, pool, c, search)
	if err != nil {
		return page, fmt.Errorf("reading the tasks: %w", err)
	}
	live := askLive(ctx, pool, page.Items)
	for i := range page.Items {
		bring(&page.Items[i], live[page.Items[i].ID])
	}
	return page, nil
}

// ViewTask reads everything that belongs to a task; without schedules its
// expected end is not known.
func ViewTask(ctx context.Context, q db.Querier, task db.Task, schedules Schedules) (view TaskView, err error) {
	view = TaskView{Task: task, Expected: schedules.expect(task)}
	if view.Outputs, err = db.OutputsOfTask(ctx, q, task.ID); err != nil {
		return view, fmt.Errorf("reading the outputs of task %d: %w", task.ID, err)
	}
	if view.Events, err = db.EventsOfTask(ctx, q, task.ID); err != nil {
		return view, fmt.Errorf("reading the events of task %d: %w", task.ID, err)
	}
	if view.Deliveries, err = deliveriesOf(ctx, q, task.ID); err != nil {
		return view, fmt.Errorf("reading the deliveries of task %d: %w", task.ID, err)
	}
	return view, nil
}

// deliveriesOf reads a task's deliveries with their attempts; none for an app, which may not
// read them.
func deliveriesOf(ctx context.Context, q db.Querier, task int64) ([]TaskDelivery, error) {
	if may, err := db.MayRead(ctx, q, "deliveries"); err != nil || !may {
		return []TaskDelivery{}, err
	}
	deliveries, err := db.DeliveriesOfTask(ctx, q, task)
	if err != nil {
		return nil, err
	}
	ids, loaded := make([]int64, len(deliveries)), make([]TaskDelivery, len(deliveries))
	place := map[int64]int{}
	for i, delivery := range deliveries {
		ids[i], loaded[i], place[delivery.ID] = delivery.ID, TaskDelivery{delivery, []db.Attempt{}}, i
	}
	attempts, err := db.AttemptsOf(ctx, q, ids)
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
