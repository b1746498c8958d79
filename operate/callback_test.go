package operate_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
)

// interval is that of polls in the tests of callbacks.
const interval = 5 * time.Second

// makeToken gives a relay a token.
func makeToken(t *testing.T, pool *pgxpool.Pool, relay string) string {
	t.Helper()
	token, err := operate.MakeCallbackToken(t.Context(), pool, relay)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// call lets the relay default call.
func call(t *testing.T, c *operate.Callbacks, token, body string, header http.Header) operate.CallbackOutcome {
	t.Helper()
	door, err := c.Door(t.Context(), db.DefaultRelay, token)
	if err != nil {
		t.Fatal(err)
	}
	outcome, err := c.Take(t.Context(), door, header, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

func TestACallbackIsTakenForATaskOfItsRelay(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	token := makeToken(t, pool, db.DefaultRelay)
	ids := track(t, pool, "running", "over", "checked-late", "job-7")
	exec(t, pool,
		fmt.Sprintf(`update klingwatch.tasks set status = 'succeeded', finished_at = now(), ended_by = 'provider' where id = %d`, ids[1]),
		fmt.Sprintf(`update klingwatch.tasks set status = 'expired', finished_at = now(), ended_by = 'klingwatch', late_checks_until = now() + interval '1 day' where id = %d`, ids[2]))
	const rows = `select string_agg(xmin::text, ' ' order by id) from klingwatch.tasks`
	under := track(t, pool, "under-way")[0]
	exec(t, pool, fmt.Sprintf(`update klingwatch.tasks set status = 'processing' where id = %d`, under))
	before := read[string](t, pool, rows)
	c := operate.NewCallbacks(pool, nil, interval)
	for body, want := range map[string]operate.CallbackOutcome{
		`{"task_id":"running","task_status":"submitted"}`:        operate.CallbackKnown,
		`{"task_id":"under-way","task_status":"processing"}`:     operate.CallbackKnown,
		`{"task_id":"under-way","task_status":"succeed"}`:        operate.CallbackHeeded,
		`{"task_id":"under-way","task_status":"unheard of"}`:     operate.CallbackHeeded,
		`{"task_id":"checked-late","task_status":"processing"}`:  operate.CallbackKnown,
		`{"task_id":"running","task_status":"processing"}`:       operate.CallbackHeeded,
		`{"id":"running","status":"succeeded","outputs":[]}`:     operate.CallbackHeeded,
		`{"id":"866","status":"failed","external_id":"job-7"}`:   operate.CallbackHeeded,
		`{"task_id":"checked-late","task_status":"succeed"}`:     operate.CallbackHeeded,
		`{"task_id":"over","task_status":"succeed"}`:             operate.CallbackEnded,
		`{"task_id":"not-inserted-yet","task_status":"succeed"}`: operate.CallbackUnknown,
		`{"task_status":"succeed"}`:                              operate.CallbackUnreadable,
		`nonsense`:                                               operate.CallbackUnreadable,
	} {
		if got := call(t, c, token, body, nil); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	if after := read[string](t, pool, rows); after != before {
		t.Error("tasks were written")
	}
}

func TestATokenOpensOneRelay(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	if err := operate.AddRelay(t.Context(), pool, nil, operate.NewRelay{Name: "second", BaseURL: "https://relay.example", Key: operate.RelayKey{File: "/run/key"}}); err != nil {
		t.Fatal(err)
	}
	token := makeToken(t, pool, "second")
	refusedAs := func(what, relay, token string) {
		t.Helper()
		// each asks anew: tokens are known for a second
		_, err := operate.NewCallbacks(pool, nil, interval).Door(t.Context(), relay, token)
		wantRefusal(t, what, err, operate.NotFound, "", "no relay calls here")
	}
	opens := func(what, relay, token string) {
		t.Helper()
		if _, err := operate.NewCallbacks(pool, nil, interval).Door(t.Context(), relay, token); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	opens("its own", "second", token)
	refusedAs("a relay without a token", db.DefaultRelay, token)
	refusedAs("a relay that there is not", "third", token)
	refusedAs("no token", "second", "")
	refusedAs("another", "second", token+"x")
	if stored := read[string](t, pool, `select row_to_json(c)::text from klingwatch.relay_callbacks c`); strings.Contains(stored, token) || len(token) < 40 {
		t.Errorf("the token %s can be guessed, or is in %s", token, stored)
	}
	// the hash opens nothing
	refusedAs("the hash", "second", read[string](t, pool, `select encode(token_hash, 'hex') from klingwatch.relay_callbacks`))

	second := makeToken(t, pool, "second")
	opens("the new one", "second", second)
	opens("the old one, for tasks on their way", "second", token)
	exec(t, pool, `update klingwatch.relay_callbacks set old_until = now()`)
	refusedAs("the old one after a day", "second", token)
	if err := operate.RevokeCallbackTokens(t.Context(), pool, "second"); err != nil {
		t.Fatal(err)
	}
	refusedAs("a revoked one", "second", second)

	third := makeToken(t, pool, "second")
	refusedAs("a revoked one after another was made", "second", second)
	if err := operate.RemoveRelay(t.Context(), pool, "second"); err != nil {
		t.Fatal(err)
	}
	refusedAs("the token of a relay that was removed", "second", third)
	_, err := operate.MakeCallbackToken(t.Context(), pool, "second")
	wantRefusal(t, "a relay that is gone", err, operate.NotFound, "", "there is no relay second")
}

// signed returns the headers that Kling sends.
func signed(t *testing.T, secret, body string) http.Header {
	t.Helper()
	now := time.Now()
	signature, err := webhook.Sign([]string{secret}, "9876543210", now, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Set("webhook-id", "9876543210")
	h.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	h.Set("webhook-signature", signature)
	return h
}

func TestWhereASecretIsSetOnlySignedCallbacksCount(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	const first, second = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "MTEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	ring, _ := keyring.Parse(first)
	secret := webhook.NewSecret()
	token := makeToken(t, pool, db.DefaultRelay)
	track(t, pool, "running")
	const body = `{"id":"running","status":"succeeded"}`

	wantRefusal(t, "without encryption", operate.SetCallbackSecret(t.Context(), pool, nil, db.DefaultRelay, secret), operate.Conflict, "", "KLINGWATCH_ENCRYPTION_KEY")
	wantRefusal(t, "no secret of Kling", operate.SetCallbackSecret(t.Context(), pool, ring, db.DefaultRelay, "secret"), operate.Invalid, "", "whsec_")
	if err := operate.SetCallbackSecret(t.Context(), pool, ring, db.DefaultRelay, secret); err != nil {
		t.Fatal(err)
	}
	if stored := read[string](t, pool, `select signing_secret from klingwatch.relay_callbacks`); !strings.HasPrefix(stored, "enc_") {
		t.Errorf("stored as %s", stored)
	}
	c := operate.NewCallbacks(pool, ring, interval)
	for what, header := range map[string]http.Header{"none": nil, "another secret": signed(t, webhook.NewSecret(), body), "another body": signed(t, secret, "{}")} {
		if got := call(t, c, token, body, header); got != operate.CallbackUnsigned {
			t.Errorf("signature of %s: %s", what, got)
		}
	}
	if got := call(t, c, token, body, signed(t, secret, body)); got != operate.CallbackHeeded {
		t.Errorf("signed: %s", got)
	}

	// a service with new encryption keys encrypts it anew; one without them takes nothing
	ring, _ = keyring.Parse(second + "," + first)
	call(t, operate.NewCallbacks(pool, ring, interval), token, body, signed(t, secret, body))
	ring, _ = keyring.Parse(second)
	if got := call(t, operate.NewCallbacks(pool, ring, interval), token, body, signed(t, secret, body)); got != operate.CallbackHeeded {
		t.Errorf("after the old encryption key has gone: %s", got)
	}
	c = operate.NewCallbacks(pool, nil, interval)
	door, err := c.Door(t.Context(), db.DefaultRelay, token)
	if err != nil {
		t.Fatal(err)
	}
	if outcome, err := c.Take(t.Context(), door, signed(t, secret, body), []byte(body)); outcome != operate.CallbackTroubled || err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("without the encryption key: %s, %v", outcome, err)
	}

	if err := operate.SetCallbackSecret(t.Context(), pool, nil, db.DefaultRelay, ""); err != nil {
		t.Fatal(err)
	}
	if got := call(t, operate.NewCallbacks(pool, nil, interval), token, body, nil); got != operate.CallbackHeeded {
		t.Errorf("without a secret: %s", got)
	}
}

func TestARelayCallsSoOften(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	token := makeToken(t, pool, db.DefaultRelay)
	c := operate.NewCallbacks(pool, nil, interval)
	now := time.Now()
	calls := 0
	for ; calls < 10_000; calls++ {
		door, err := c.Door(t.Context(), db.DefaultRelay, token)
		if err != nil {
			t.Fatal(err)
		}
		if door.Wait(now) > 0 {
			break
		}
	}
	if calls < 100 || calls > 1000 {
		t.Errorf("it may call %d times at once", calls)
	}
	door, err := c.Door(t.Context(), db.DefaultRelay, token)
	if err != nil {
		t.Fatal(err)
	}
	if wait := door.Wait(now.Add(time.Second)); wait != 0 {
		t.Errorf("a second later it must wait %s", wait)
	}
}

// sleep puts the job of a task to sleep, as River does, and returns its scheduled time.
func sleep(t *testing.T, pool *pgxpool.Pool, task int64, length string) {
	t.Helper()
	exec(t, pool, fmt.Sprintf(`update klingwatch.river_job set state = 'scheduled', scheduled_at = now() + interval '%s' where args->>'id' = '%d'`, length, task))
}

// job is the state of a task's job.
func job(t *testing.T, pool *pgxpool.Pool, task int64) (state string, due time.Duration) {
	t.Helper()
	var seconds float64
	err := pool.QueryRow(t.Context(), `select state, extract(epoch from scheduled_at - clock_timestamp())::float8 from klingwatch.river_job where args->>'id' = @id`,
		pgx.StrictNamedArgs{"id": strconv.FormatInt(task, 10)}).Scan(&state, &seconds)
	if err != nil {
		t.Fatal(err)
	}
	return state, time.Duration(seconds * float64(time.Second))
}

func TestACallbackWakesAJobThatSleepsAndAForgedOneNotTwice(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	token := makeToken(t, pool, db.DefaultRelay)
	task := track(t, pool, "asleep")[0]
	c := operate.NewCallbacks(pool, nil, interval)
	again := func() {
		t.Helper()
		if got := call(t, c, token, `{"task_id":"asleep"}`, nil); got != operate.CallbackHeeded {
			t.Fatal(got)
		}
	}
	sleep(t, pool, task, "1 hour")
	again()
	if state, due := job(t, pool, task); state != "available" || due > 0 {
		t.Fatalf("the job is %s, due in %s", state, due)
	}
	sleep(t, pool, task, "1 hour") // it was polled, and sleeps again
	again()
	if state, due := job(t, pool, task); state != "scheduled" || due < interval/2 || due > interval {
		t.Fatalf("within the interval the job is %s, due in %s", state, due)
	}
	before := read[string](t, pool, `select xmin::text from klingwatch.river_job`)
	for range 20 {
		again()
	}
	if after := read[string](t, pool, `select xmin::text from klingwatch.river_job`); after != before {
		t.Error("more callbacks within the interval wrote to the job")
	}

	// the database's clock went back
	exec(t, pool, `update klingwatch.river_job set metadata = metadata || jsonb_build_object('woken', now() + interval '1 hour')`)
	sleep(t, pool, task, "1 hour")
	again()
	if state, due := job(t, pool, task); state != "available" || due > 0 {
		t.Fatalf("after the clock went back the job is %s, due in %s", state, due)
	}

	// one that fails waits for its own time
	exec(t, pool, `update klingwatch.river_job set state = 'retryable', scheduled_at = now() + interval '1 minute', metadata = '{}'`)
	again()
	if state, _ := job(t, pool, task); state != "retryable" {
		t.Fatalf("a job that failed is %s", state)
	}
}

func TestAWorkedJobIsToldByANote(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	token := makeToken(t, pool, db.DefaultRelay)
	task := track(t, pool, "resident")[0]
	exec(t, pool, `update klingwatch.river_job set state = 'running', attempted_at = now(), attempted_by = array['kw1']`)
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := db.ListenForChanges(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	call(t, operate.NewCallbacks(pool, nil, interval), token, `{"task_id":"resident"}`, nil)
	note, err := conn.WaitForNotification(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := db.ReadCall(note.Payload); !ok || got != task {
		t.Errorf("the note %q", note.Payload)
	}
	if state, _ := job(t, pool, task); state != "running" {
		t.Errorf("the job is %s", state)
	}
}
