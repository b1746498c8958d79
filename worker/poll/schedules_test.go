package poll

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/schedule"
)

// A type of which no recent task is left keeps its schedule for a day.
func TestALearnedScheduleOutlivesATimeWithoutItsTasks(t *testing.T) {
	t.Parallel()
	samples := make([]schedule.Sample, 100)
	for i := range samples {
		samples[i] = schedule.Sample{Age: 2*time.Minute + time.Duration(i)*time.Second, Ended: true}
	}
	const interval = 5 * time.Second
	video, image := schedule.TaskType{Action: "videos", Action2: "text2video"}, schedule.TaskType{Action: "images", Action2: "generations"}
	fitted := schedule.Fit(samples, interval)
	young := db.PollTarget{Action: video.Action, Action2: video.Action2}
	var s schedules
	learned := func() bool { return s.usualWait(young, interval, 0.5) != interval }
	begun := time.Now()
	s.use(map[schedule.TaskType]*schedule.Schedule{video: fitted}, begun)
	if !learned() {
		t.Fatal("the learned schedule is not used")
	}
	s.use(map[schedule.TaskType]*schedule.Schedule{image: fitted}, begun.Add(time.Hour))
	if !learned() {
		t.Error("forgotten within the hour")
	}
	s.use(map[schedule.TaskType]*schedule.Schedule{image: fitted}, begun.Add(keepLearned))
	if learned() {
		t.Error("still used after a day without such tasks")
	}
}
