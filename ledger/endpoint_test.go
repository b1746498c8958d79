package ledger_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

// receivers are the endpoints that get the events about others, in order.
func receivers(t testing.TB, q db.Querier) []int64 {
	t.Helper()
	rows, err := q.Query(t.Context(), `select d.endpoint from klingwatch.deliveries d join klingwatch.events e on e.id = d.event where e.task is null order by d.id`)
	check(t, err)
	return must(pgx.CollectRows(rows, pgx.RowTo[int64]))(t)
}

func TestADisabledEndpointIsReportedToTheOthers(t *testing.T) {
	t.Parallel()
	pool := open(t, "&timezone=Asia/Tokyo")
	secret, other := addEndpoint(t, pool, "https://a.example/hook?token=s3cret"), addEndpoint(t, pool, "https://b.example/")
	run(t, pool, `update klingwatch.webhook_endpoints set failing_since = '2026-01-02 03:04:05+00' where id = $1`, secret)
	list := []ledger.Disabling{
		{Endpoint: secret, URL: "https://old.example/", Reason: "it moved meanwhile"},
		{Endpoint: secret, URL: "https://a.example/hook?token=s3cret", Reason: "it answered 410 Gone"},
		{Endpoint: secret, Reason: "a second time"},
		{Endpoint: 12345, Reason: "it is not there"},
	}
	var disabled []ledger.Disabling
	check(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
		disabled, err = ledger.DisableEndpoints(t.Context(), tx, list)
		return err
	}))
	if len(disabled) != 1 || disabled[0] != list[1] {
		t.Errorf("disabled %+v", disabled)
	}
	if got := must(db.GetEndpoint(t.Context(), pool, secret))(t); got.DisabledAt == nil || *got.DisabledReason != "it answered 410 Gone" {
		t.Errorf("endpoint %+v", got)
	}
	events := payloads(t, pool)
	if len(events) != 1 || events[0].Type != webhook.EndpointDisabled || events[0].Data.ID != secret || events[0].Data.URL != "https://a.example" || events[0].Data.Reason != "it answered 410 Gone" ||
		events[0].Data.DisabledAt == nil || !events[0].Data.FailingSince.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("events %+v", events)
	}
	for _, at := range []time.Time{events[0].Timestamp, *events[0].Data.DisabledAt, *events[0].Data.FailingSince} {
		if at.Location() != time.UTC {
			t.Errorf("%s is not UTC", at)
		}
	}
	if to := receivers(t, pool); len(to) != 1 || to[0] != other {
		t.Errorf("the event goes to %v", to)
	}
}

// Two processes see the same 410 at once.
func TestTwoDisableAnEndpointOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	gone := []ledger.Disabling{{Endpoint: addEndpoint(t, pool, "https://a.example/"), Reason: "it answered 410 Gone"}}
	addEndpoint(t, pool, "https://b.example/")
	first, second := begin(t, pool), begin(t, pool)
	if disabled := must(ledger.DisableEndpoints(t.Context(), first, gone))(t); len(disabled) != 1 {
		t.Errorf("the first disabled %+v", disabled)
	}
	var disabled []ledger.Disabling
	wait := dbtest.Blocked(t, pool, func() (err error) {
		disabled, err = ledger.DisableEndpoints(t.Context(), second, gone)
		return err
	})
	check(t, first.Commit(t.Context()))
	check(t, wait())
	check(t, second.Commit(t.Context()))
	if events := payloads(t, pool); len(disabled) != 0 || len(events) != 1 {
		t.Errorf("the second disabled %+v; events %+v", disabled, events)
	}
}

func TestAFailingEndpointIsReportedToTheOthers(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	failing, other := addEndpoint(t, pool, "https://a.example/hook"), addEndpoint(t, pool, "https://b.example/")
	run(t, pool, `update klingwatch.webhook_endpoints set failing_since = now() - interval '1 d', last_failed_at = now() where id = $1`, failing)
	warn := func(id int64) error {
		return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := ledger.TendEndpoints(t.Context(), tx, nil, []ledger.Warning{{Endpoint: id, Reason: "failing for a day"}})
			return err
		})
	}
	check(t, warn(failing))
	if got := must(db.FailingEndpoints(t.Context(), pool, time.Hour))(t); len(got) != 1 || !got[0].Warned {
		t.Errorf("failing: %+v", got)
	}
	events := payloads(t, pool)
	if len(events) != 1 || events[0].Type != webhook.EndpointFailing || events[0].Data.ID != failing || events[0].Data.DisabledAt != nil || events[0].Data.Reason != "failing for a day" {
		t.Errorf("events %+v", events)
	}
	if to := receivers(t, pool); len(to) != 1 || to[0] != other {
		t.Errorf("the event goes to %v", to)
	}
	if err := warn(12345); !errors.Is(err, db.ErrNotFound) || len(payloads(t, pool)) != 1 {
		t.Errorf("an endpoint that is not there: %v", err)
	}
}

func TestAnEnabledEndpointGetsWhatWaited(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := addEndpoint(t, pool, "https://a.example/")
	must(db.DisableEndpoint(t.Context(), pool, id, "", "a person"))(t)
	for _, task := range track(t, pool, "a", "b") {
		move(t, pool, task, db.Failed)
	}
	const due = `select count(*) from klingwatch.deliveries d join klingwatch.live_jobs j on j.key = klingwatch.job_key('deliver', d.id) where d.endpoint = $1 and d.next_attempt_at <= now()`
	if n := count(t, pool, due, id); n != 0 {
		t.Errorf("%d deliveries are due while it is disabled", n)
	}
	if released := must(ledger.EnableEndpoint(t.Context(), pool, id))(t); released != 2 {
		t.Errorf("%d were released", released)
	}
	if n := count(t, pool, due, id); n != 2 {
		t.Errorf("%d deliveries are due", n)
	}
	if got := must(db.GetEndpoint(t.Context(), pool, id))(t); got.DisabledAt != nil {
		t.Errorf("endpoint %+v", got)
	}
	if _, err := ledger.EnableEndpoint(t.Context(), pool, 12345); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an endpoint that is not there: %v", err)
	}
}

// What is told about an endpoint is told under the same id if it is lost, under another
// if it happens once more.
func TestAnEventAboutAnEndpointHasAnIDOfItsOccasion(t *testing.T) {
	t.Parallel()
	primary := dbtest.NewURL(t)
	pool := connect(t, primary)
	endpoint := addEndpoint(t, pool, "https://a.example/hook")
	run(t, pool, `update klingwatch.webhook_endpoints set failing_since = now() - interval '1 d', last_failed_at = now()`)
	pool.Close()
	standby := connect(t, dbtest.CopyURL(t, primary))
	pool = connect(t, primary)

	tell := func(pool *pgxpool.Pool, what string) {
		t.Helper()
		check(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			if what == webhook.EndpointFailing {
				_, err := ledger.TendEndpoints(t.Context(), tx, nil, []ledger.Warning{{Endpoint: endpoint, Reason: "timeout"}})
				return err
			}
			_, err := ledger.DisableEndpoints(t.Context(), tx, []ledger.Disabling{{Endpoint: endpoint, Reason: "it answered 410 Gone"}})
			return err
		}))
	}
	ids := func(pool *pgxpool.Pool) []string {
		t.Helper()
		rows, err := pool.Query(t.Context(), `select event_id from klingwatch.events order by id`)
		check(t, err)
		return must(pgx.CollectRows(rows, pgx.RowTo[string]))(t)
	}
	tell(pool, webhook.EndpointFailing)
	tell(pool, webhook.EndpointDisabled)
	run(t, standby, `select nextval(pg_get_serial_sequence('klingwatch.events', 'id'))`)
	tell(standby, webhook.EndpointFailing)
	tell(standby, webhook.EndpointDisabled)
	if first, again := ids(pool), ids(standby); len(first) != 2 || !slices.Equal(first, again) {
		t.Errorf("told under %q, and again under %q", first, again)
	}

	must(ledger.EnableEndpoint(t.Context(), pool, endpoint))(t)
	run(t, pool, `update klingwatch.webhook_endpoints set failing_since = now() - interval '1 d', last_failed_at = now()`)
	tell(pool, webhook.EndpointFailing)
	run(t, pool, `update klingwatch.webhook_endpoints set failing_since = now() - interval '23 h', warned_at = null`) // it had recovered
	tell(pool, webhook.EndpointFailing)
	tell(pool, webhook.EndpointDisabled)
	run(t, pool, `update klingwatch.webhook_endpoints set disabled_at = null`) // somebody, with plain SQL
	tell(pool, webhook.EndpointDisabled)
	all := ids(pool)
	if slices.Sort(all); len(all) != 6 || len(slices.Compact(all)) != 6 {
		t.Errorf("six events have the ids %q", all)
	}
}
