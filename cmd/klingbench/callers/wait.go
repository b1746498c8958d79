package callers

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// Wait has clients begin to wait, and returns when all have asked, or are about to.
func (c *crowd) Wait(plan WaitPlan, _ *process.None) error {
	begun := time.Now()
	for i, task := range plan.Tasks {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / time.Duration(plan.PerSecond))))
		go func() {
			status := 0 // lost
			body, got, err := plan.ask(c.ctx, i, fmt.Sprintf("/v1/tasks/%d?wait=60", task), "Connection: close\r\n")
			if err == nil {
				if _, err = io.Copy(io.Discard, body); err == nil {
					status = got
				}
				_ = body.Close()
			}
			at := time.Now().UnixNano()
			c.mu.Lock()
			defer c.mu.Unlock()
			c.answers = append(c.answers, Answer{task, at, status})
		}()
	}
	return nil
}

// Answers returns what came so far.
func (c *crowd) Answers(_ process.None, answers *[]Answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	*answers = slices.Clone(c.answers)
	return nil
}
