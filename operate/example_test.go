package operate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
)

// connect opens the database of a deployment.
func connect(ctx context.Context) *pgxpool.Pool {
	pool, err := db.Open(ctx, os.Getenv("DATABASE_URL"), 4)
	if err != nil {
		log.Fatal(err)
	}
	return pool
}

// All tasks are tracked, or none.
func ExampleTrack() {
	ctx := context.Background()
	pool := connect(ctx)
	defer pool.Close()
	tracked, err := operate.Track(ctx, pool, []db.NewTask{
		{TaskID: "CjMT7WdSwWcAAAAAALvB3g", Action: "videos", Action2: "text2video", Metadata: json.RawMessage(`{"user": 42}`)},
		{TaskID: "CjMT7WdSwWcAAAAAALvB4a", Action: "images", Action2: "generations", CallbackURL: new("https://app.example/hook")},
	})
	if refused, ok := errors.AsType[*operate.Error](err); ok {
		fmt.Println("not tracked:", refused)
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	for _, task := range tracked {
		fmt.Println(task.ID, task.Added)
	}
}

// The code of a refusal says what to do about it.
func ExampleCancel() {
	ctx := context.Background()
	pool := connect(ctx)
	defer pool.Close()
	task, err := operate.FindTask(ctx, pool, "CjMT7WdSwWcAAAAAALvB3g")
	if err == nil {
		err = operate.Cancel(ctx, pool, task, 24*time.Hour)
	}
	refused, _ := errors.AsType[*operate.Error](err)
	switch {
	case err == nil:
		fmt.Println("task", task.ID, "is not tracked any more")
	case refused == nil:
		log.Fatal(err)
	case refused.Code == operate.NotFound:
		fmt.Println("there is no such task")
	case refused.Code == operate.Ambiguous:
		fmt.Println("give our own id")
	case refused.Code == operate.Conflict:
		fmt.Println("it has ended already")
	}
}

func ExampleWait() {
	pool := connect(context.Background())
	defer pool.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	err := operate.Wait(ctx, pool, []int64{1, 2}, func(task db.TaskStatus) {
		fmt.Println(task.TaskID, task.Status)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		fmt.Println("they take longer")
	}
}

// Everything that is known of a task, as JSON.
func ExampleViewTask() {
	ctx := context.Background()
	pool := connect(ctx)
	defer pool.Close()
	task, err := operate.FindTask(ctx, pool, "1")
	if err != nil {
		log.Fatal(err)
	}
	schedules, err := operate.LearnSchedules(ctx, pool, 5*time.Second) // for its expected end
	if err != nil {
		log.Fatal(err)
	}
	view, err := operate.ViewTask(ctx, pool, task, schedules)
	if err != nil {
		log.Fatal(err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(view)
}

// A receiver is added, and tried.
func ExampleAddEndpoint() {
	ctx := context.Background()
	pool := connect(ctx)
	defer pool.Close()
	added, err := operate.AddEndpoint(ctx, pool, nil, operate.NewEndpoint{
		URL: "https://app.example/hook", Events: []string{webhook.TaskSucceeded, webhook.TaskFailed}, Actions: []string{"videos"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("endpoint", added.ID, "verifies with", added.Secret)
	client := webhook.NewClient(webhook.Config{})
	defer client.Close()
	result, err := operate.Ping(ctx, pool, nil, client, fmt.Sprint(added.ID))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Delivered, result.StatusCode, result.Error)
}

// What a receiver missed since yesterday is sent again, 50 a second.
func ExampleBeginBulk() {
	ctx := context.Background()
	pool := connect(ctx)
	defer pool.Close()
	begun, err := operate.BeginBulk(ctx, pool, operate.Bulk{
		Action:     db.BulkRedeliver,
		Deliveries: db.DeliveryChoice{Endpoint: new(int64(1)), Since: time.Now().Add(-24 * time.Hour)},
		PerSecond:  50,
	})
	if err != nil {
		log.Fatal(err)
	}
	now, err := operate.ViewBulk(ctx, pool, begun.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d of %d are due\n", now.Done, now.Matched)
}
