package worker

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/klingwatch/klingwatch/db"
)

// doneDriver is a driver of River that deletes jobs when they are done. River would mark
// them as completed first, and delete them minutes later: each is another version of the
// row in the busiest table, with its entries in the indexes, and nobody needs them: the
// truth about a task is in tasks.
type doneDriver struct{ riverdriver.Driver[pgx.Tx] }

// GetExecutor returns what River writes jobs with.
func (d doneDriver) GetExecutor() riverdriver.Executor { return doneExecutor{d.Driver.GetExecutor()} }

type doneExecutor struct{ riverdriver.Executor }

// JobSetStateIfRunningMany writes what became of jobs, and returns those that are left. To
// do it again does no harm, and River does so when it fails.
func (e doneExecutor) JobSetStateIfRunningMany(ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	done, others := apartDone(params)
	if len(done) > 0 {
		if err := db.DeleteDoneJobs(ctx, e.Executor, done); err != nil {
			return nil, err
		}
	}
	if len(others.ID) == 0 {
		return nil, nil
	}
	return e.Executor.JobSetStateIfRunningMany(ctx, others)
}

// apartDone parts the jobs that are done from the others.
func apartDone(all *riverdriver.JobSetStateIfRunningManyParams) (done []int64, others *riverdriver.JobSetStateIfRunningManyParams) {
	others = &riverdriver.JobSetStateIfRunningManyParams{Now: all.Now, Schema: all.Schema}
	for i, id := range all.ID {
		if all.State[i] == rivertype.JobStateCompleted {
			done = append(done, id)
			continue
		}
		others.ID = append(others.ID, id)
		others.Attempt = append(others.Attempt, all.Attempt[i])
		others.ErrData = append(others.ErrData, all.ErrData[i])
		others.FinalizedAt = append(others.FinalizedAt, all.FinalizedAt[i])
		others.MetadataDoMerge = append(others.MetadataDoMerge, all.MetadataDoMerge[i])
		others.MetadataUpdates = append(others.MetadataUpdates, all.MetadataUpdates[i])
		others.ScheduledAt = append(others.ScheduledAt, all.ScheduledAt[i])
		others.State = append(others.State, all.State[i])
	}
	return done, others
}
