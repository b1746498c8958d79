package poll

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/metrics"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// oneLane are the relays of a process with one, whose key nobody has refused yet. The
// process works, but its lane is not run: tests do by hand what its dispatcher does.
func oneLane(t *testing.T, pool *pgxpool.Pool) (*Relays, *Poller) {
	t.Helper()
	client, err := klingapi.New(klingapi.Config{BaseURL: "http://127.0.0.1:1", Credential: klingapi.StaticKey("k")})
	if err != nil {
		t.Fatal(err)
	}
	r := NewRelays(t.Context(), Config{Pool: pool, Metrics: &metrics.New().Polling, Log: slog.New(slog.DiscardHandler), Interval: time.Second})
	r.Set([]Spec{{Name: db.DefaultRelay, Client: client, Rate: 1000, BatchSize: 20, Slots: 10_000}})
	if _, err := pool.Exec(t.Context(), `
		insert into klingwatch.relays (name, base_url, key_source, credential) values ('default', 'http://127.0.0.1:1', 'settings', $1) on conflict do nothing`, client.Credential()); err != nil {
		t.Fatal(err)
	}
	return r, r.byName[db.DefaultRelay].poller
}

var refusal = &klingapi.Error{Kind: klingapi.Refused, HTTPStatus: http.StatusUnauthorized, Message: "no such key"}

// fresh is a task that the relay has never answered.
func fresh(id int64) db.PollTarget {
	task := processing(id)
	task.Status, task.UpstreamStatus, task.Polls = db.Pending, "", 0
	return task
}

// answer lets a request about tasks that are here end with an error, or nil.
func answer(t *testing.T, p *Poller, err error, tasks ...*Watched) {
	t.Helper()
	at := tasks[0].relay
	p.noteAnswer(t.Context(), &request{relay: at, place: at.place(&tasks[0].task), tasks: tasks, begun: time.Now()}, err)
}

func refuse(t *testing.T, r *Relays, p *Poller) *Watched {
	t.Helper()
	w := r.Watch(fresh(1), Memory{})
	answer(t, p, refusal, w)
	if !p.paused() {
		t.Fatal("the refusal of the only task does not pause")
	}
	return w
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
	r, p := oneLane(t, pool)
	refuse(t, r, p)
	makeProbeDue(t, pool)
	r.Reread(1, 1)
	p.dispatch(t.Context(), ticket{})
	if in := probeIn(t, pool); in > 0 {
		t.Errorf("nobody asked, and the next probe is in %s", in)
	}
}

func TestAProbeThatAStopCutsOffIsGivenBack(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	r, p := oneLane(t, pool)
	w := refuse(t, r, p)
	makeProbeDue(t, pool)
	asking, stopAsking := context.WithCancel(t.Context())
	p.ctx = asking
	p.takeDue(true)
	probe, admitted, err := p.claimProbe(t.Context())
	if err != nil || !probe || !admitted {
		t.Fatal(probe, admitted, err)
	}
	if in := probeIn(t, pool); in < time.Second {
		t.Fatalf("claimed, and the next probe is in %s", in)
	}
	stopAsking()
	p.ask(&request{relay: w.relay, tasks: []*Watched{w}, probe: true})
	if in := probeIn(t, pool); in > 0 {
		t.Errorf("nobody was answered, and the next probe is in %s", in)
	}
}

// The task of a request that a pause forbids waits on, with its deadline.
func TestATaskThatIsNotAdmittedIsPutBack(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	r, p := oneLane(t, pool)
	w := refuse(t, r, p)
	p.dispatch(t.Context(), ticket{})
	if w.asked() || w.inDeadlines < 0 {
		t.Errorf("waiting %v, with a deadline %v", !w.asked(), w.inDeadlines >= 0)
	}
}

// Whose trouble a refusal is: each case is a story of answers, in order.
func TestThePauseOfACredentialNeedsEvidence(t *testing.T) {
	t.Parallel()
	for name, story := range map[string]struct {
		tasks  func(id int64) db.PollTarget
		here   int     // tasks, from 1
		events []int64 // the task that is refused, or negative: answered
		paused bool
	}{
		"the only task":                {fresh, 1, []int64{1}, true},
		"the first of two":             {fresh, 2, []int64{1}, false},
		"both of two":                  {fresh, 2, []int64{1, 2}, true},
		"one of many, again and again": {fresh, 9, []int64{1, 1, 1, 1}, false},
		"three of many":                {fresh, 9, []int64{1, 2, 3}, true},
		"three of many, but another was answered in between":  {fresh, 9, []int64{1, 2, -4, 3}, false},
		"those that were refused before others were answered": {fresh, 9, []int64{1, 2, -4, 1, 2, 3}, false},
		"tasks that were answered until now":                  {processing, 9, []int64{1, 2, 3}, true},
		"all of them, after they were answered":               {processing, 2, []int64{-1, -2, 1, 2}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, p := oneLane(t, dbtest.New(t))
			here := map[int64]*Watched{}
			for id := range int64(story.here) {
				here[id+1] = r.Watch(story.tasks(id+1), Memory{})
			}
			for _, event := range story.events {
				if event > 0 {
					answer(t, p, refusal, here[event])
				} else {
					answer(t, p, nil, here[-event])
				}
			}
			if p.paused() != story.paused {
				t.Errorf("paused: %v", p.paused())
			}
		})
	}
}

// New tasks that the relay refuses say nothing about a key while it goes on answering
// about others.
func TestAHealthyTaskProtectsTheKeyFromNewOnes(t *testing.T) {
	t.Parallel()
	r, p := oneLane(t, dbtest.New(t))
	healthy := r.Watch(processing(1), Memory{})
	for id := range int64(20) {
		answer(t, p, refusal, r.Watch(fresh(100+id), Memory{}))
	}
	if p.paused() {
		t.Fatal("paused by tasks that the relay never answered, beside one that it does answer")
	}
	answer(t, p, refusal, healthy)
	answer(t, p, refusal, r.Watch(fresh(200), Memory{}))
	answer(t, p, refusal, r.Watch(fresh(201), Memory{}))
	if !p.paused() {
		t.Error("not paused, although the task is refused now that was answered")
	}
}

func TestAGoodAnswerEndsThePause(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	r, p := oneLane(t, pool)
	w := refuse(t, r, p)
	answer(t, p, &klingapi.Error{Kind: klingapi.Unavailable}, w)
	if !p.paused() {
		t.Error("trouble on the way ended the pause")
	}
	p.noteAnswer(t.Context(), &request{relay: w.relay, tasks: []*Watched{w}, begun: time.Now().Add(-time.Hour)}, nil)
	if !p.paused() {
		t.Error("an answer from before the refusal ended the pause")
	}
	answer(t, p, &klingapi.Error{Kind: klingapi.NotFound}, w)
	if pauses, err := db.Pauses(t.Context(), pool, db.PauseStale); p.paused() || len(pauses) != 0 || err != nil {
		t.Errorf("paused %v, %+v, %v", p.paused(), pauses, err)
	}
}

// What is asked first after the pause began is what the relay has not refused.
func TestProbesRotateOverTasksAndPlaces(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	r, p := oneLane(t, pool)
	watch := func(id int64, action2 string) *Watched {
		task := fresh(id)
		task.Action2 = action2
		return r.Watch(task, Memory{})
	}
	for id, action2 := range []string{"text2video", "text2video", "text2video", "lip-sync", "effects"} {
		watch(int64(id), action2)
	}
	var order []int64
	places := map[string]bool{}
	for range 5 {
		w := p.takeDue(true)
		p.noteProbe(&request{relay: w.relay, place: w.place, tasks: []*Watched{w}})
		order, places[w.task.Action2] = append(order, w.task.ID), true
		if len(order) == 3 && len(places) != 3 {
			t.Errorf("after three probes: %v", places)
		}
		w.memory.Trouble = 1
		p.putBack(w)
	}
	seen := map[int64]bool{}
	for _, id := range order {
		seen[id] = true
	}
	if len(seen) != 5 {
		t.Errorf("probed with %v", order)
	}
}

// Two processes: a pause of one is not one of the other, which the relay answers.
func TestAnotherProcessMayObjectToAPause(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	one, onesLane := oneLane(t, pool)
	two, twosLane := oneLane(t, pool)
	one.SetShare(0.5, 2)
	two.SetShare(0.5, 2)
	follow := func() {
		t.Helper()
		for _, r := range []*Relays{one, two} {
			if err := r.FollowPauses(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	older := func() {
		t.Helper()
		if _, err := pool.Exec(t.Context(), `update klingwatch.polling_pauses set paused_at = paused_at - interval '5 s'`); err != nil {
			t.Fatal(err)
		}
	}
	refused, healthy := one.Watch(fresh(1), Memory{}), two.Watch(fresh(2), Memory{})
	answer(t, onesLane, refusal, refused)
	follow()
	if onesLane.paused() || twosLane.paused() {
		t.Fatal("paused before the other was heard")
	}
	answer(t, twosLane, nil, healthy)
	follow()
	older()
	follow()
	if onesLane.paused() || twosLane.paused() {
		t.Fatal("paused, although the other objected")
	}
	answer(t, onesLane, refusal, refused)
	follow()
	older()
	follow()
	if onesLane.paused() {
		t.Fatal("the task that was refused before the objection began a pause again")
	}

	other := one.Watch(fresh(3), Memory{})
	answer(t, onesLane, refusal, other)
	if onesLane.paused() {
		t.Fatal("paused before the other was heard")
	}
	older()
	for _, p := range []*Poller{onesLane, twosLane} {
		p.pause.answered = p.pause.answered.Add(-time.Hour) // nobody has been answered since
	}
	follow()
	follow()
	if !onesLane.paused() || !twosLane.paused() {
		t.Errorf("nobody objected: paused %v and %v", onesLane.paused(), twosLane.paused())
	}
}

// The row of a relay may name the key of another process's file.
func TestAPauseHoldsForAKeyThatItsRelayDoesNotName(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	r, p := oneLane(t, pool)
	if _, err := pool.Exec(t.Context(), `update klingwatch.relays set credential = 'deadbeef'`); err != nil {
		t.Fatal(err)
	}
	refuse(t, r, p)
	if err := r.FollowPauses(t.Context()); err != nil || !p.paused() {
		t.Errorf("paused %v, %v", p.paused(), err)
	}
}

// Only an answer of the relay's own shows that it took the key.
func TestWhatShowsThatAKeyIsAccepted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err     error
		resumed bool
	}{
		"a record":                     {nil, true},
		"a task that it does not know": {&klingapi.Error{Kind: klingapi.NotFound, HTTPStatus: 404}, true},
		"a question it does not take":  {&klingapi.Error{Kind: klingapi.Rejected, HTTPStatus: 400, Code: "1200"}, true},
		"a question that was not sent": {&klingapi.Error{Kind: klingapi.Rejected}, false},
		"a page of its front end":      {&klingapi.Error{Kind: klingapi.Misconfigured, HTTPStatus: 200}, false},
		"nonsense":                     {&klingapi.Error{Kind: klingapi.Unreadable, HTTPStatus: 200}, false},
		"trouble on the way":           {&klingapi.Error{Kind: klingapi.Unavailable, HTTPStatus: 502}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, p := oneLane(t, dbtest.New(t))
			answer(t, p, test.err, refuse(t, r, p))
			if p.paused() == test.resumed {
				t.Errorf("paused: %v", p.paused())
			}
		})
	}
}

// Tasks that are in trouble of their own stay so while they are away.
func TestRefusedTasksThatComeBackDoNotPause(t *testing.T) {
	t.Parallel()
	r, p := oneLane(t, dbtest.New(t))
	healthy := r.Watch(processing(9), Memory{})
	var refused []*Watched
	for id := range int64(3) {
		refused = append(refused, r.Watch(processing(id), Memory{}))
		answer(t, p, refusal, refused[id])
		answer(t, p, nil, healthy)
	}
	for i, w := range refused {
		p.mu.Lock()
		w.memory.Trouble = 4
		p.leave(w, Departure{Snooze: 2 * time.Minute})
		p.mu.Unlock()
		refused[i] = r.Watch(processing(int64(i)), (<-w.Done()).Memory)
	}
	for _, w := range refused {
		answer(t, p, refusal, w)
	}
	if p.paused() {
		t.Error("they began a pause")
	}
}

func TestANewTaskBringsTheProbeForward(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	r, p := oneLane(t, pool)
	refuse(t, r, p)
	if in := probeIn(t, pool); in < 50*time.Second {
		t.Fatalf("the probe is in %s", in)
	}
	task := fresh(3)
	task.Action2 = "image2video"
	r.Watch(task, Memory{})
	p.dispatch(t.Context(), ticket{})
	if in := probeIn(t, pool); in > firstProbe {
		t.Errorf("a task is here that the relay has not refused, and the probe is in %s", in)
	}
	if _, err := pool.Exec(t.Context(), `update klingwatch.polling_pauses set probe_at = now() + interval '1 min'`); err != nil {
		t.Fatal(err)
	}
	p.dispatch(t.Context(), ticket{})
	if in := probeIn(t, pool); in < 50*time.Second {
		t.Errorf("brought forward twice: the probe is in %s", in)
	}
}

// A probe counts for the rotation when it is made.
func TestProbesThatAreNotMadeDoNotCount(t *testing.T) {
	t.Parallel()
	r, p := oneLane(t, dbtest.New(t))
	refuse(t, r, p)
	for range 9 {
		p.dispatch(t.Context(), ticket{})
	}
	if len(p.probed) != 0 {
		t.Errorf("counted %v", p.probed)
	}
}

// The database's clock goes back while the other processes are asked whether they object:
// they have three seconds all the same.
func TestAPauseIsConfirmedWhateverTheDatabasesClockSays(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	r, p := oneLane(t, pool)
	r.SetShare(0.5, 2)
	answer(t, p, refusal, r.Watch(fresh(1), Memory{}))
	if p.paused() {
		t.Fatal("paused before the other process could object")
	}
	if _, err := pool.Exec(t.Context(), `update klingwatch.polling_pauses set paused_at = paused_at + interval '1 h', probe_at = probe_at + interval '1 h'`); err != nil {
		t.Fatal(err)
	}
	p.pause.askedAt = p.pause.askedAt.Add(-objectionTime) // as if they had passed
	if err := r.FollowPauses(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !p.paused() {
		t.Error("not paused although nobody objected")
	}
	if probe, _, err := p.claimProbe(t.Context()); err != nil || !probe {
		t.Errorf("no probe, an hour must pass: %v", err)
	}
}
