package operate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
)

func TestWhatAnEndpointGets(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for name, test := range map[string]struct {
		add     operate.NewEndpoint
		events  []string
		actions []string
	}{
		"by default": {operate.NewEndpoint{}, webhook.TerminalTypes, []string{}},
		"all":        {operate.NewEndpoint{Events: []string{"all"}, Actions: []string{"all"}}, webhook.Types, []string{}},
		"chosen": {operate.NewEndpoint{Events: []string{webhook.TaskFailed, webhook.EndpointFailing}, Actions: []string{"images", "videos/avatar/image2video"}},
			[]string{webhook.TaskFailed, webhook.EndpointFailing}, []string{"images", "videos/avatar/image2video"}},
	} {
		test.add.URL, test.add.Thin, test.add.Description = "https://app.example/"+strings.ReplaceAll(name, " ", "-"), name == "all", name
		added, err := operate.AddEndpoint(t.Context(), pool, nil, test.add)
		if err != nil {
			t.Fatal(err)
		}
		got, err := operate.GetEndpoint(t.Context(), pool, added.ID)
		if err != nil || !slices.Equal(added.Events, test.events) || !slices.Equal(got.EventTypes, test.events) || !slices.Equal(got.Actions, test.actions) ||
			got.URL != test.add.URL || got.Thin != test.add.Thin || got.Description != name || got.DisabledAt != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if !strings.HasPrefix(added.Secret, "whsec_") {
			t.Errorf("%s: the secret is %q", name, added.Secret)
		}
	}
}

// badChoices of an endpoint; each is refused, about a field.
var badChoices = map[string]struct {
	url     string
	events  []string
	actions []string
	field   string
	part    string
}{
	"no URL":            {url: "", part: `"": it must begin with http`},
	"another scheme":    {url: "ftp://app.example/", part: "it must begin with http"},
	"unknown event":     {url: "https://a.example/", events: []string{"task.done"}, field: "events", part: `has "task.done", which is not one of task.submitted, `},
	"the test webhook":  {url: "https://a.example/", events: []string{webhook.Test}, field: "events", part: "which is not one of"},
	"all and another":   {url: "https://a.example/", events: []string{"all", webhook.TaskFailed}, field: "events", part: `has "all"`},
	"trailing slash":    {url: "https://a.example/", actions: []string{"images/"}, field: "actions", part: `has "images/", which is neither an action`},
	"upper case":        {url: "https://a.example/", actions: []string{"videos", "Images"}, field: "actions", part: `has "Images"`},
	"too many segments": {url: "https://a.example/", actions: []string{"a/b/c/d"}, field: "actions", part: `has "a/b/c/d"`},
}

func TestBadChoicesOfAnEndpointAreRefused(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := addEndpoint(t, pool, "https://app.example/hook")
	before, _ := operate.GetEndpoint(t.Context(), pool, id)
	for name, bad := range badChoices {
		_, err := operate.AddEndpoint(t.Context(), pool, nil, operate.NewEndpoint{URL: bad.url, Events: bad.events, Actions: bad.actions})
		wantRefusal(t, "adding: "+name, err, operate.Invalid, bad.field, bad.part)
		err = operate.EditEndpoint(t.Context(), pool, id, operate.EndpointEdit{URL: new(bad.url), Events: bad.events, Actions: bad.actions})
		wantRefusal(t, "editing: "+name, err, operate.Invalid, bad.field, bad.part)
	}
	wantRefusal(t, "no edit", operate.EditEndpoint(t.Context(), pool, id, operate.EndpointEdit{}), operate.Invalid, "", "say what to change")
	wantRefusal(t, "no edit", operate.EndpointEdit{Events: []string{}}.Check(), operate.Invalid, "", "say what to change")
	if err := (operate.NewEndpoint{URL: "https://app.example/"}).Check(); err != nil {
		t.Errorf("checking a good one: %v", err)
	}
	after, err := operate.GetEndpoint(t.Context(), pool, id)
	if err != nil || after.URL != before.URL || !slices.Equal(after.EventTypes, before.EventTypes) {
		t.Errorf("%+v, before %+v (%v)", after, before, err)
	}
	if n := read[int](t, pool, `select count(*) from klingwatch.webhook_endpoints`); n != 1 {
		t.Errorf("%d endpoints", n)
	}
}

func TestAURLIsOneEndpointsOnly(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	addEndpoint(t, pool, "https://app.example/1")
	second := addEndpoint(t, pool, "https://app.example/2")
	_, err := operate.AddEndpoint(t.Context(), pool, nil, operate.NewEndpoint{URL: "https://app.example/1"})
	wantRefusal(t, "adding", err, operate.Conflict, "", "https://app.example/1 is a receiver already")
	err = operate.EditEndpoint(t.Context(), pool, second, operate.EndpointEdit{URL: new("https://app.example/1")})
	wantRefusal(t, "editing", err, operate.Conflict, "", "https://app.example/1 is a receiver already")
	if err := operate.EditEndpoint(t.Context(), pool, second, operate.EndpointEdit{URL: new("https://app.example/2")}); err != nil {
		t.Errorf("keeping its own: %v", err)
	}
}

// What an edit does not name stays; what waits goes to the new URL.
func TestAnEditChangesWhatItNames(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := addEndpoint(t, pool, "https://app.example/old")
	cancel(t, pool, track(t, pool, "t")[0])
	for _, edit := range []operate.EndpointEdit{
		{URL: new("https://app.example/new")},
		{Events: []string{webhook.TaskFailed}},
		{Actions: []string{"images"}},
		{Thin: new(true)},
		{Description: new("the app")},
	} {
		if err := operate.EditEndpoint(t.Context(), pool, id, edit); err != nil {
			t.Fatal(err)
		}
	}
	got, err := operate.GetEndpoint(t.Context(), pool, id)
	if err != nil || got.URL != "https://app.example/new" || !slices.Equal(got.EventTypes, []string{webhook.TaskFailed}) || !slices.Equal(got.Actions, []string{"images"}) ||
		!got.Thin || got.Description != "the app" || got.Waiting != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if url := read[string](t, pool, `select url from klingwatch.deliveries`); url != "https://app.example/new" {
		t.Errorf("what waits goes to %s", url)
	}
	if err := operate.EditEndpoint(t.Context(), pool, id, operate.EndpointEdit{Actions: []string{"all"}, Thin: new(false)}); err != nil {
		t.Fatal(err)
	}
	if got, _ = operate.GetEndpoint(t.Context(), pool, id); len(got.Actions) != 0 || got.Thin || got.Description != "the app" {
		t.Errorf("%+v", got)
	}
}

func TestADisabledEndpointsDeliveriesWait(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := addEndpoint(t, pool, "https://app.example/hook")
	for range 2 { // the second time changes nothing
		if err := operate.DisableEndpoint(t.Context(), pool, id); err != nil {
			t.Fatal(err)
		}
	}
	cancel(t, pool, track(t, pool, "t")[0])
	got, err := operate.GetEndpoint(t.Context(), pool, id)
	if err != nil || got.DisabledAt == nil || *got.DisabledReason != "disabled by a person" || got.Waiting != 1 {
		t.Errorf("disabled: %+v, %v", got, err)
	}
	const due = `select count(*) from klingwatch.deliveries where next_attempt_at <= now()`
	if n := read[int](t, pool, due); n != 0 {
		t.Errorf("%d are due", n)
	}
	released, err := operate.EnableEndpoint(t.Context(), pool, id)
	if got, _ := operate.GetEndpoint(t.Context(), pool, id); err != nil || released != 1 || got.DisabledAt != nil || read[int](t, pool, due) != 1 {
		t.Errorf("enabled: %d are released, %+v, %v", released, got, err)
	}
}

// Removing takes an endpoint's deliveries along, however many, and nobody else's.
func TestRemovingAnEndpoint(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id, other := addEndpoint(t, pool, "https://app.example/hook"), addEndpoint(t, pool, "https://other.example/hook")
	cancel(t, pool, track(t, pool, "t")[0])
	exec(t, pool,
		`insert into klingwatch.events (event_id, task, sequence, type, payload) select 'e' || i, 1, 1 + i, 'task.failed', '{}' from generate_series(1, 2500) i`,
		`insert into klingwatch.deliveries (event, endpoint, url, state, next_attempt_at)
		 select 1 + i, 1, 'u', case when i <= 1000 then 'pending' else 'delivered' end, case when i <= 1000 then now() end from generate_series(1, 2500) i`)
	waiting, err := operate.RemoveEndpoint(t.Context(), pool, id)
	if err != nil || waiting != 1001 {
		t.Errorf("%d had not arrived, %v", waiting, err)
	}
	if n := read[int](t, pool, `select count(*) from klingwatch.deliveries`); n != 1 {
		t.Errorf("%d deliveries are left", n)
	}
	if got, err := operate.GetEndpoint(t.Context(), pool, other); err != nil || got.Waiting != 1 {
		t.Errorf("the other: %+v, %v", got, err)
	}
	if n := read[int](t, pool, `select count(*) from klingwatch.signing_keys where endpoint is not null`); n != 1 {
		t.Errorf("%d endpoints have keys", n)
	}
}

func TestAnEndpointThatIsNotThere(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for name, ask := range map[string]func() error{
		"get": func() error { _, err := operate.GetEndpoint(t.Context(), pool, 99); return err },
		"edit": func() error {
			return operate.EditEndpoint(t.Context(), pool, 99, operate.EndpointEdit{Thin: new(true)})
		},
		"enable":  func() error { _, err := operate.EnableEndpoint(t.Context(), pool, 99); return err },
		"disable": func() error { return operate.DisableEndpoint(t.Context(), pool, 99) },
		"remove":  func() error { _, err := operate.RemoveEndpoint(t.Context(), pool, 99); return err },
		"rotate": func() error {
			_, err := operate.RotateKeys(t.Context(), pool, nil, db.KeyOwner{Endpoint: new(int64(99))}, 0)
			return err
		},
		"redeliver": func() error {
			_, err := operate.BeginBulk(t.Context(), pool, operate.Bulk{Action: db.BulkRedeliver, Deliveries: db.DeliveryChoice{Endpoint: new(int64(99))}, PerSecond: 1})
			return err
		},
		"ping": func() error { _, err := operate.Ping(t.Context(), pool, nil, nil, "99"); return err },
	} {
		wantRefusal(t, name, ask(), operate.NotFound, "", "there is no endpoint 99; see klingwatch endpoints list")
	}
}
