package schedule

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/db"
)

const (
	// learnWindow bounds the tasks that are looked at, perType those of one type:
	// the newest say most about how the provider is today.
	learnWindow = 50_000
	perType     = 5_000
	// learnSince is how old the oldest of them may be.
	learnSince = 30 * 24 * time.Hour
)

// TaskType is what durations are learned for.
type TaskType struct{ Relay, Action, Action2 string }

// LearnSchedules reads recent tasks and returns a schedule for each type with
// enough of them; interval is the fixed one whose number of polls it spends.
func LearnSchedules(ctx context.Context, q db.Querier, interval time.Duration) (map[TaskType]*Schedule, error) {
	lifetimes, err := db.RecentLifetimes(ctx, q, learnSince, learnWindow, perType)
	if err != nil {
		return nil, fmt.Errorf("reading the durations of recent tasks: %w", err)
	}
	samples := map[TaskType][]Sample{}
	for _, l := range lifetimes {
		of := TaskType{l.Relay, l.Action, l.Action2}
		samples[of] = append(samples[of], Sample{Age: l.Age, Ended: l.Ended})
	}
	schedules := map[TaskType]*Schedule{}
	for of, list := range samples {
		if s := Fit(list, interval); s != nil {
			schedules[of] = s
		}
	}
	return schedules, nil
}
