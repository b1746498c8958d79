package worker

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// leavable is the driver of a River that may have to leave its database. To write what
// became of jobs, and to resign as the leader, it tries for 7 s each, during which work
// cannot begin anew. Once left is set, it gives up at the first failure: the jobs are
// taken over like those of a process that is gone, the leadership runs out.
type leavable struct {
	riverdriver.Driver[pgx.Tx]
	left *atomic.Bool
}

// GetExecutor returns what River writes jobs with.
func (d leavable) GetExecutor() riverdriver.Executor {
	return leavableExecutor{d.Driver.GetExecutor(), d.left}
}

type leavableExecutor struct {
	riverdriver.Executor
	left *atomic.Bool
}

// JobSetStateIfRunningMany writes what became of jobs. River does not try a closed pool
// again.
func (e leavableExecutor) JobSetStateIfRunningMany(ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	jobs, err := e.Executor.JobSetStateIfRunningMany(ctx, params)
	if err != nil && e.left.Load() {
		err = fmt.Errorf("%w: %w", err, riverdriver.ErrClosedPool)
	}
	return jobs, err
}

// LeaderResign lets another process lead at once.
func (e leavableExecutor) LeaderResign(ctx context.Context, params *riverdriver.LeaderResignParams) (bool, error) {
	resigned, err := e.Executor.LeaderResign(ctx, params)
	if err != nil && e.left.Load() {
		return false, nil
	}
	return resigned, err
}
