package migrations_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/migrations"
)

// secretOf is what a database derives webhook-ids with.
func secretOf(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	secret, err := db.EventSecret(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return string(secret)
}

func TestEachDeploymentHasASecretForItsWebhookIDs(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 2 {
		pool := emptyDatabase(t)
		if _, err := migrations.Up(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
		secret := secretOf(t, pool)
		if len(secret) != 32 || seen[secret] {
			t.Errorf("the secret has %d bytes; another deployment has the same: %v", len(secret), seen[secret])
		}
		seen[secret] = true
	}
}

func TestThereIsOneSecret(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	before := secretOf(t, pool)
	for _, sql := range []string{
		`insert into klingwatch.event_secret default values`,
		`insert into klingwatch.event_secret (one) values (false)`,
		`update klingwatch.event_secret set secret = 'short'`,
	} {
		if _, err := pool.Exec(t.Context(), sql); !db.RefusedValue(err) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if secretOf(t, pool) != before {
		t.Error("the secret has changed")
	}
}

// Events from before the upgrade keep the ids that receivers know, and are counted.
func TestEventsOfTheVersionBeforeAreCounted(t *testing.T) {
	t.Parallel()
	pool := before(t)
	upgrade(t, pool)
	task := func() db.PollTarget {
		t.Helper()
		target, err := db.GetPollTarget(t.Context(), pool, 5, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return target
	}
	if reopened, err := db.ReopenTasks(t.Context(), pool, []int64{5}, time.Hour); len(reopened) != 1 || err != nil {
		t.Fatalf("reopened %v, %v", reopened, err)
	}
	changes := []db.Change{{Task: 5, Created: task().CreatedAt, Version: task().Version, From: db.Pending, Status: db.Failed, Deadline: time.Hour}}
	changed, err := db.ApplyChanges(t.Context(), pool, changes)
	if err != nil || len(changed) != 1 || changed[0].EventType != "task.failed" || changed[0].Sequence != 2 || changed[0].Number != 2 {
		t.Errorf("changed %+v, %v", changed, err)
	}
	events, err := db.EventsOfTask(t.Context(), pool, 5)
	if err != nil || len(events) != 1 || events[0].EventID != "msg_5" {
		t.Errorf("events %+v, %v", events, err)
	}
}
