package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

// connect returns a pool on a database that a test names.
func connect(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool := must(db.Open(t.Context(), url, 10))(t)
	t.Cleanup(pool.Close)
	return pool
}

// moveAll gives tasks a status in one transaction.
func moveAll(t testing.TB, pool *pgxpool.Pool, ids []int64, status string) {
	t.Helper()
	changes := make([]ledger.Change, len(ids))
	for i, id := range ids {
		changes[i] = changeTo(t, pool, id, status)
	}
	if applied := must(ledger.Apply(t.Context(), pool, changes, nil))(t); len(applied) != len(ids) {
		t.Fatalf("%d of %d tasks became %s", len(applied), len(ids), status)
	}
}

// toldAs is the webhook-id under which the end of each task is told, by its task_id.
func toldAs(t testing.TB, pool *pgxpool.Pool) map[string]string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select t.task_id, e.event_id from klingwatch.events e join klingwatch.tasks t on t.id = e.task where e.type = 'task.' || t.status`)
	check(t, err)
	told := map[string]string{}
	var task, id string
	_, err = pgx.ForEachRow(rows, []any{&task, &id}, func() error { told[task] = id; return nil })
	check(t, err)
	return told
}

// idsOf lists the webhook-ids of a task's events in their order.
func idsOf(t testing.TB, q db.Querier, id int64) (ids []string) {
	t.Helper()
	for _, e := range must(db.EventsOfTask(t.Context(), q, id))(t) {
		ids = append(ids, e.EventID)
	}
	return ids
}

// derived is the webhook-id of the event with a number of a task of the type
// videos/text2video.
func derived(t testing.TB, q db.Querier, taskID, eventType string, number int) string {
	t.Helper()
	return webhook.EventID(must(db.EventSecret(t.Context(), q))(t), eventType, number, "default", "videos", "text2video", taskID)
}

// Thirty tasks end, and a standby that lagged behind is promoted. There they end again,
// by another way, in another order, and under other numbers of our own.
func TestAChangeThatWasLostIsToldUnderTheSameID(t *testing.T) {
	t.Parallel()
	names := make([]string, 30)
	for i := range names {
		names[i] = fmt.Sprintf("t%d", i)
	}
	primary := dbtest.NewURL(t)
	pool := connect(t, primary)
	ids := track(t, pool, names...)
	pool.Close()
	standby, other := connect(t, dbtest.CopyURL(t, primary)), connect(t, dbtest.CopyURL(t, primary))
	pool = connect(t, primary)

	moveAll(t, pool, ids, db.Processing)
	moveAll(t, pool, ids, db.Succeeded)
	first := toldAs(t, pool)
	if len(first) != len(names) {
		t.Fatalf("%d tasks have ended", len(first))
	}
	differ := func(told map[string]string) (n int) {
		for task, id := range first {
			if told[task] != id {
				n++
			}
		}
		return n
	}
	for _, id := range slices.Backward(ids) {
		move(t, standby, id, db.Succeeded)
	}
	if n := differ(toldAs(t, standby)); n != 0 {
		t.Errorf("%d of %d are told under another id", n, len(first))
	}

	// the insertions are lost as well, and made again
	run(t, other, `delete from klingwatch.tasks`)
	slices.Reverse(names)
	moveAll(t, other, track(t, other, names...), db.Succeeded)
	if n := differ(toldAs(t, other)); n != 0 {
		t.Errorf("%d of %d are told under another id after they were inserted again", n, len(first))
	}
}

func TestAnotherDeploymentHasOtherIDs(t *testing.T) {
	t.Parallel()
	ours, theirs := dbtest.New(t), dbtest.New(t)
	run(t, theirs, `update klingwatch.event_secret set secret = default`) // databases of tests are copies of one
	for _, pool := range []*pgxpool.Pool{ours, theirs} {
		move(t, pool, track(t, pool, "t")[0], db.Failed)
	}
	if a, b := toldAs(t, ours)["t"], toldAs(t, theirs)["t"]; a == b {
		t.Errorf("both deployments tell it as %s", a)
	}
}

// A verdict that replaces another is news.
func TestAnotherVerdictHasAnotherID(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	for _, status := range []string{db.Expired, db.Succeeded, "reopen", db.Succeeded, "reopen", db.Failed, "reopen", db.Processing, db.Succeeded} {
		if status == "reopen" {
			check(t, ledger.Reopen(t.Context(), pool, id, deadline))
			continue
		}
		move(t, pool, id, status)
	}
	want := []string{
		derived(t, pool, "t", webhook.TaskExpired, 1), derived(t, pool, "t", webhook.TaskSucceeded, 1), derived(t, pool, "t", webhook.TaskSucceeded, 2),
		derived(t, pool, "t", webhook.TaskFailed, 1), derived(t, pool, "t", webhook.TaskProcessing, 1), derived(t, pool, "t", webhook.TaskSucceeded, 3),
	}
	if got := idsOf(t, pool, id); !slices.Equal(got, want) {
		t.Errorf("the ids are\n%q, want\n%q", got, want)
	}
}

// To receivers that remember the first, the second end is no news: see docs/webhooks.md.
func TestATaskThatIsDeletedAndTrackedAgainHasTheSameIDs(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	move(t, pool, track(t, pool, "t")[0], db.Succeeded)
	first := toldAs(t, pool)["t"]
	run(t, pool, `delete from klingwatch.tasks`)
	move(t, pool, track(t, pool, "t")[0], db.Succeeded)
	if again := toldAs(t, pool)["t"]; again != first {
		t.Errorf("first %s, then %s", first, again)
	}
}

// Somebody has worked on the tables by hand, and an id that comes next is there already.
// The end of a task is written all the same, and those of its batch keep theirs.
func TestAnIDThatIsTakenIsPassedOver(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "deleted", "renamed", "fine")
	for range 3 {
		move(t, pool, ids[0], db.Succeeded)
		check(t, ledger.Reopen(t.Context(), pool, ids[0], deadline))
	}
	run(t, pool, `delete from klingwatch.events where task = $1 and sequence = 1`, ids[0])
	move(t, pool, ids[1], db.Succeeded)
	run(t, pool, `update klingwatch.tasks set task_id = 'other' where id = $1`, ids[1])
	ids[1] = track(t, pool, "renamed")[0]

	moveAll(t, pool, ids, db.Succeeded)
	for i, want := range []string{
		derived(t, pool, "deleted", webhook.TaskSucceeded, 4),
		derived(t, pool, "renamed", webhook.TaskSucceeded, 2),
		derived(t, pool, "fine", webhook.TaskSucceeded, 1),
	} {
		if got := idsOf(t, pool, ids[i]); got[len(got)-1] != want {
			t.Errorf("task %d has the ids %q, want %s at the end", ids[i], got, want)
		}
	}
	if n := count(t, pool, `select count(*) from klingwatch.deliveries`); n != 6 {
		t.Errorf("%d deliveries, want one for each event that is there", n)
	}
}

func TestALostSecretIsNamed(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	run(t, pool, `delete from klingwatch.event_secret`)
	_, err := ledger.Apply(t.Context(), pool, []ledger.Change{changeTo(t, pool, id, db.Failed)}, nil)
	if err == nil || statusOf(t, pool, id) != db.Pending {
		t.Fatalf("without the secret: %v, it is %s", err, statusOf(t, pool, id))
	}
	_, remedy, found := strings.Cut(err.Error(), "new webhook-ids: ")
	if !found {
		t.Fatalf("the error is %q", err)
	}
	run(t, pool, remedy)
	move(t, pool, id, db.Failed)
}
