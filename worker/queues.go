package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/klingwatch/klingwatch/db"
)

// Each relay has queues of its own (migrations/015_queues.sql), several since River
// works at most pollSlots jobs of a queue at once, and they are resident: those of the
// relay default are poll-0 and so on, those of another relay-ID-0 and so on, by the ids
// of tasks.
const (
	defaultQueues = 8
	relayQueues   = 2
	// River's limit per queue. When nine tenths of a relay's slots are taken, its jobs
	// snooze sooner.
	pollSlots = river.QueueNumWorkersMax
	// removeLimit bounds waiting for the jobs of a queue that is left; they leave soon,
	// and it is tried again.
	removeLimit = 2 * time.Second
)

// queuesOf names the queues of a relay's tasks.
func queuesOf(row db.Relay) []string {
	format, n := fmt.Sprintf("relay-%d-%%d", row.ID), relayQueues
	if row.Name == db.DefaultRelay {
		format, n = "poll-%d", defaultQueues
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf(format, i)
	}
	return names
}

// slotsOf is how many tasks of a relay can be resident in a process.
func slotsOf(row db.Relay) int { return len(queuesOf(row)) * pollSlots }

// pollQueues are the queues of tasks that this process works: those of relays that it can
// ask. The jobs of others are left to other processes.
type pollQueues struct {
	client *river.Client[pgx.Tx]
	heard  *wakeUps
	worked []string
}

// follow works the wanted queues from now on, and no others. Where a queue still has jobs
// here, it is left at the next call.
func (q *pollQueues) follow(ctx context.Context, wanted []string) error {
	var failed error
	q.heard.hear(wanted)
	for _, name := range wanted {
		if slices.Contains(q.worked, name) {
			continue
		}
		if err := q.client.Queues().Add(name, river.QueueConfig{MaxWorkers: pollSlots}); err != nil {
			failed = errors.Join(failed, fmt.Errorf("working the queue %s: %w", name, err))
			continue
		}
		q.worked = append(q.worked, name)
	}
	for _, name := range slices.Clone(q.worked) {
		if slices.Contains(wanted, name) {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, removeLimit)
		err := q.client.Queues().Remove(limited, name)
		cancel()
		if err == nil {
			q.worked = slices.DeleteFunc(q.worked, func(worked string) bool { return worked == name })
		} else if !errors.Is(err, context.DeadlineExceeded) {
			failed = errors.Join(failed, fmt.Errorf("leaving the queue %s: %w", name, err))
		}
	}
	return failed
}
