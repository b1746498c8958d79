package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/worker/poll"
)

const (
	// lockCheck is how often the connection that holds the instance's lock is
	// tried, and the instances are counted.
	lockCheck = time.Second
	// lockTimeout bounds one such question.
	lockTimeout = 5 * time.Second
	// releaseTimeout bounds what a stop must wait for when the database hangs.
	releaseTimeout = time.Second
	// joinWait is how long a new instance leaves tasks and rate to the others: by then
	// they have seen it and share.
	joinWait = lockCheck * 3 / 2
	// mostAnswers a second go to people who ask how tasks are polled: anybody may ask.
	mostAnswers = 20
	// shareMemory seconds must agree until the share grows: by then the instances
	// whose share shrinks have seen it too.
	shareMemory = 3
)

// errLockLost says that the connection that shows that we live broke, or leads to a server
// that does not accept writes any more: others may take over our jobs, so we start anew
// under a lock of our own.
var errLockLost = errors.New("the connection that holds the instance's lock is gone")

func lost(cause error) error { return fmt.Errorf("%w: %w", errLockLost, cause) }

// instance is this process among those that work on the database: a numbered
// slot, held by the advisory lock of a connection.
type instance struct {
	conn    *pgx.Conn
	slot    int
	changes *changes
}

// claimInstance opens a connection of its own for the instance's lock: a pool
// would close it when idle.
func claimInstance(ctx context.Context, pool *pgxpool.Pool) (*instance, error) {
	conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connecting for the instance's lock: %w", err)
	}
	slot, err := db.ClaimInstance(ctx, conn)
	if err != nil {
		closeConn(conn)
		return nil, err
	}
	return &instance{conn, slot, newChanges()}, nil
}

func (i *instance) id() string { return db.InstanceID(i.slot) }

func (i *instance) release() { closeConn(i.conn) }

// prepare calls work, which may take long, and shows meanwhile that we live: the server
// ends a session that says nothing for 10 s, and the others would leave us a part of the
// rate if we did not tell that we need none yet.
func (i *instance) prepare(ctx context.Context, asks string, work func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ; ctx.Err() == nil; sleep(ctx, lockCheck) {
			if _, _, err := i.shareWork(ctx, db.Work{Asks: asks}); err != nil {
				stop(lost(err))
			}
		}
	})
	err := work(ctx)
	stop(nil)
	wg.Wait() // the connection is free
	if cause := context.Cause(ctx); errors.Is(cause, errLockLost) {
		return cause
	}
	return err
}

// hold returns when ctx ends (nil) or the lock's connection is lost. Once a
// second it tells the others how many tasks are here, and which part of the rate they
// need, and takes its share; in between it listens for tasks that a person changed.
func (i *instance) hold(ctx context.Context, asked *poll.Relays, asks func() string) error {
	if err := db.ListenForChanges(ctx, i.conn); err != nil && ctx.Err() == nil {
		return lost(err)
	}
	var recent, needs [shareMemory]float64
	looked := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		needs[n%shareMemory] = asked.Needs(time.Since(looked))
		looked = time.Now()
		instances, share, err := i.shareWork(ctx, db.Work{Tasks: asked.Residents(), Needs: slices.Max(needs[:]), Asks: asks()})
		if err != nil {
			return lost(err)
		}
		recent[n%shareMemory] = share
		asked.SetShare(slices.Min(recent[:min(n+1, shareMemory)]), instances)
		i.listen(ctx, asked)
		if i.conn.IsClosed() {
			return lost(io.ErrUnexpectedEOF)
		}
	}
	return nil
}

// shareWork is bounded, and more so while the process stops: a database that
// hangs must not hold that up.
func (i *instance) shareWork(ctx context.Context, work db.Work) (instances int, share float64, err error) {
	check, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(releaseTimeout, cancel) })()
	return db.ShareWork(check, i.conn, i.slot, work)
}

// listen passes changes by people and callbacks on for about a second, however many are told, and
// answers who asks about tasks that are here.
func (i *instance) listen(ctx context.Context, asked *poll.Relays) {
	ctx, cancel := context.WithTimeout(ctx, lockCheck)
	defer cancel()
	for answers := 0; ctx.Err() == nil; {
		note, err := i.conn.WaitForNotification(ctx)
		if err != nil {
			return
		}
		if id, err := strconv.ParseInt(note.Payload, 10, 64); err == nil && asked.Resident(id) {
			i.changes.say(id)
		}
		if id, ok := db.ReadCall(note.Payload); ok {
			asked.Call(id)
		}
		if question, ok := db.ReadLiveQuestion(note.Payload); ok && answers < mostAnswers {
			answers++
			i.answer(ctx, asked, question)
		}
	}
}

// answer tells what is known of tasks that are here. A connection that breaks meanwhile
// is noticed by the caller.
func (i *instance) answer(ctx context.Context, asked *poll.Relays, question db.LiveQuestion) {
	polls := asked.Look(question.Tasks)
	for n := range polls {
		polls[n].Instance = i.id()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTimeout)
	defer cancel()
	_ = db.AnswerLive(ctx, i.conn, question, polls)
}
