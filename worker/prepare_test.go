package worker

import (
	"context"
	"errors"
	"testing"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// Giving back the jobs of processes that were killed takes long where they had hundreds of
// thousands: the one that starts must not lose its lock meanwhile.
func TestALongPreparationKeepsTheLock(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	i, err := claimInstance(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	defer i.release()
	if _, err := i.conn.Exec(t.Context(), `set idle_session_timeout = '2s'`); err != nil {
		t.Fatal(err)
	}
	err = i.prepare(t.Context(), "", func(ctx context.Context) error {
		_, err := pool.Exec(ctx, `select pg_sleep(4)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, share, err := db.ShareWork(t.Context(), i.conn, i.slot, db.Work{}); n != 1 || share != 1 || err != nil {
		t.Errorf("%d instances, a share of %v, %v", n, share, err)
	}
}

// A lock that is lost all the same ends the preparation, and another one begins.
func TestAPreparationEndsWithItsLock(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	i, err := claimInstance(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	err = i.prepare(t.Context(), "", func(ctx context.Context) error {
		if _, err := pool.Exec(ctx, `select pg_terminate_backend($1)`, i.conn.PgConn().PID()); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, errLockLost) {
		t.Errorf("the preparation ended with %v", err)
	}
}
