// Package schedule learns when tasks of a type end, and from that when to ask
// about them: seldom while nearly none has ended, often around the time when
// most do. It spends as many polls as a fixed interval would.
//
//	schedules, err := schedule.LearnSchedules(ctx, pool, 5*time.Second)
//	if s := schedules[schedule.TaskType{Action: "videos", Action2: "text2video"}]; s != nil {
//		wait := s.Wait(task.Age, 1)                  // until the next poll
//		half, known := s.Remaining(task.Age, 0.5)    // half of such tasks have ended by then
//	}
package schedule
