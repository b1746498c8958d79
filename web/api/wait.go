package api

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/feed"
	"github.com/klingwatch/klingwatch/web/callers"
)

// maxWait is the longest wait for a task.
const maxWait = 60 * time.Second

var preferWait = regexp.MustCompile(`(?i)(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?`)

// limit is how long to wait; the header Prefer is the caller's wish, which is cut to what
// there is.
func (w WaitInput) limit() (limit time.Duration, preferred bool) {
	if w.Wait > 0 {
		return time.Duration(w.Wait) * time.Second, false
	}
	found := preferWait.FindStringSubmatch(w.Prefer)
	if found == nil {
		return 0, false
	}
	wished, _ := strconv.Atoi(found[1])
	return min(time.Duration(wished)*time.Second, maxWait), true
}

// awaitEnd returns when a task has ended or is gone, the time has passed, or this process
// stops: the caller then gets the state reached. Meanwhile it holds no connection.
func (a *API) awaitEnd(ctx context.Context, id int64, limit time.Duration) error {
	ctx, done, err := a.hold(ctx, callerOf(ctx).ID, callers.Wait)
	if err != nil {
		return err
	}
	defer done()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = a.Feed.Await(limited, id, func(ctx context.Context) (bool, error) {
		found, err := db.StatusesOf(ctx, a.Pool, []int64{id})
		return len(found) == 0 || db.Terminal(found[0].Status), err
	})
	switch {
	case errors.Is(err, feed.ErrClosing), limited.Err() != nil && context.Cause(ctx) == nil:
		return nil
	case errors.Is(context.Cause(ctx), callers.ErrRefused):
		return problem(unauthorized, "")
	case err != nil:
		return fmt.Errorf("waiting for a task: %w", err)
	}
	return nil
}
