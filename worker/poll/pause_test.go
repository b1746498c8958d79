package poll

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/metrics"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// laneOf is a lane whose credential is refused by nobody yet.
func laneOf(t *testing.T, pool *pgxpool.Pool, credential klingapi.Credential) *Lane {
	t.Helper()
	relay, err := klingapi.New(klingapi.Config{BaseURL: "http://127.0.0.1:1", Credential: credential})
	if err != nil {
		t.Fatal(err)
	}
	return NewLane(Config{
		Pool: pool, Relay: relay, Metrics: &metrics.New().Polling, Log: slog.New(slog.DiscardHandler), Interval: time.Second, Rate: 1000, Slots: 100,
	})
}

var refusal = &klingapi.Error{Kind: klingapi.Refused, HTTPStatus: http.StatusUnauthorized, Message: "no such key"}

func refuse(t *testing.T, l *Lane) {
	t.Helper()
	if err := l.notePauses(t.Context(), 1, l.Relay.Credential(), false, refusal); err != nil {
		t.Fatal(err)
	}
	if !l.paused() {
		t.Fatal("a refused credential does not pause")
	}
}

func probeIn(t *testing.T, pool *pgxpool.Pool) (wait time.Duration) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `select probe_at - now() from klingwatch.polling_pauses`).Scan(&wait); err != nil {
		t.Fatal(err)
	}
	return wait
}

func makeProbeDue(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), `update klingwatch.polling_pauses set probe_at = now()`); err != nil {
		t.Fatal(err)
	}
}

// A person changes the one due task just when the one probe of a minute is due:
// the task leaves, and the probe must not be lost.
func TestAProbeIsNotClaimedWithoutATask(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	l := laneOf(t, pool, klingapi.StaticKey("k"))
	refuse(t, l)
	makeProbeDue(t, pool)
	p := NewPoller(t.Context(), l)
	p.Watch(db.PollTarget{ID: 1, Status: db.Pending, Left: time.Hour}, Memory{})
	p.Reread(1)
	p.dispatch(t.Context(), ticket{})
	if in := probeIn(t, pool); in > 0 {
		t.Errorf("nobody asked, and the next probe is in %s", in)
	}
}

func TestAProbeThatAStopCutsOffIsGivenBack(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	l := laneOf(t, pool, klingapi.StaticKey("k"))
	refuse(t, l)
	makeProbeDue(t, pool)
	asking, stopAsking := context.WithCancel(t.Context())
	p := NewPoller(asking, l)
	w := p.Watch(db.PollTarget{ID: 1, Status: db.Pending, Left: time.Hour}, Memory{})
	p.takeDue(true)
	var admitted bool
	var err error
	if w.probe, admitted, err = l.claimProbe(t.Context()); err != nil || !w.probe || !admitted {
		t.Fatal(w.probe, admitted, err)
	}
	if in := probeIn(t, pool); in < time.Second {
		t.Fatalf("claimed, and the next probe is in %s", in)
	}
	stopAsking()
	p.ask(w)
	if in := probeIn(t, pool); in > 0 {
		t.Errorf("nobody was answered, and the next probe is in %s", in)
	}
}

// The task of a request that a pause forbids waits on, with its deadline.
func TestATaskThatIsNotAdmittedIsPutBack(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	l := laneOf(t, pool, klingapi.StaticKey("k"))
	refuse(t, l)
	p := NewPoller(t.Context(), l)
	w := p.Watch(db.PollTarget{ID: 1, Status: db.Pending, Left: time.Hour}, Memory{})
	p.dispatch(t.Context(), ticket{})
	if w.asked() || w.inDeadlines < 0 {
		t.Errorf("waiting %v, with a deadline %v", !w.asked(), w.inDeadlines >= 0)
	}
}

// rotating is a credential whose key changes.
type rotating struct{ key string }

func (r *rotating) Token() (string, error) { return r.key, nil }
func (r *rotating) Fingerprint() string    { return klingapi.StaticKey(r.key).Fingerprint() }

func pauses(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()
	found, err := db.Pauses(t.Context(), pool, db.PauseStale)
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func TestARotatedKeyEndsThePauseOfTheOnlyProcess(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	credential := &rotating{"old-key"}
	l := laneOf(t, pool, credential)
	refuse(t, l)
	credential.key = "new-key"
	if probe, admitted, err := l.claimProbe(t.Context()); probe || !admitted || err != nil {
		t.Fatal(probe, admitted, err)
	}
	if l.paused() || pauses(t, pool) != 0 {
		t.Errorf("paused %v, %d pauses", l.paused(), pauses(t, pool))
	}
}

// During a rolling change of the key the others still ask with the old one.
func TestARotatedKeyLeavesThePauseToOthersWhoUseIt(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for range 2 { // two processes live
		conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		if _, err := db.ClaimInstance(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
	}
	credential := &rotating{"old-key"}
	changed, other := laneOf(t, pool, credential), laneOf(t, pool, klingapi.StaticKey("old-key"))
	refuse(t, changed)
	if err := other.FollowPause(t.Context()); err != nil || !other.paused() {
		t.Fatal(err, other.paused())
	}
	credential.key = "new-key"
	if _, admitted, err := changed.claimProbe(t.Context()); !admitted || err != nil {
		t.Fatal(admitted, err)
	}
	if _, admitted, err := other.claimProbe(t.Context()); admitted || err != nil {
		t.Errorf("the other process asks with the refused key: %v, %v", admitted, err)
	}
}
