package operate_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/relays"
)

func TestRelaysThatCannotBeAskedAreNotAdded(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	good := operate.NewRelay{Name: "second", BaseURL: "https://relay.example", Key: operate.RelayKey{File: "/run/key"}}
	with := func(change func(*operate.NewRelay)) operate.NewRelay {
		r := good
		change(&r)
		return r
	}
	for name, test := range map[string]struct {
		relay operate.NewRelay
		code  operate.Code
		field string
		part  string
	}{
		"the relay of the settings": {with(func(r *operate.NewRelay) { r.Name = "default" }), operate.Conflict, "", "is the one of the service's settings"},
		"no key":                    {with(func(r *operate.NewRelay) { r.Key = operate.RelayKey{} }), operate.Invalid, "", "needs a key"},
		"two keys":                  {with(func(r *operate.NewRelay) { r.Key.AccessKey, r.Key.SecretKeyFile = "a", "/s" }), operate.Invalid, "", "there are 2 keys"},
		"half a key":                {with(func(r *operate.NewRelay) { r.Key = operate.RelayKey{AccessKey: "a"} }), operate.Invalid, "", "belong together"},
		"relative file":             {with(func(r *operate.NewRelay) { r.Key.File = "key" }), operate.Invalid, "key_file", "absolute path"},
		"key without encryption":    {with(func(r *operate.NewRelay) { r.Key = operate.RelayKey{Key: "sk-secret"} }), operate.Conflict, "", "KLINGWATCH_ENCRYPTION_KEY is not set"},
		"key with a line break":     {with(func(r *operate.NewRelay) { r.Key = operate.RelayKey{Key: "sk-se\ncret"} }), operate.Invalid, "", "line break"},
		"no scheme":                 {with(func(r *operate.NewRelay) { r.BaseURL = "relay.example" }), operate.Invalid, "", "must be like https://"},
		"path without an id":        {with(func(r *operate.NewRelay) { r.TaskPath = "/tasks" }), operate.Invalid, "task_path", "neither {task_id} nor {task_ids}"},
		"odd name":                  {with(func(r *operate.NewRelay) { r.Name = "Second Relay" }), operate.Invalid, "", "1 to 64 of a-z"},
		"negative rate":             {with(func(r *operate.NewRelay) { r.PollRate = -1 }), operate.Invalid, "poll_rate", "more than 0"},
		"large batch":               {with(func(r *operate.NewRelay) { r.BatchSize = 1000 }), operate.Invalid, "batch_size", "from 1 to 100"},
		"negative lifetime":         {with(func(r *operate.NewRelay) { r.OutputLifetime = -time.Hour }), operate.Invalid, "output_lifetime", "from 1m to ten years"},
	} {
		err := operate.AddRelay(t.Context(), pool, nil, test.relay)
		wantRefusal(t, name, err, test.code, test.field, test.part)
		if strings.Contains(err.Error(), "secret\"") || strings.Contains(err.Error(), "sk-se") {
			t.Errorf("%s: the key is in %q", name, err)
		}
	}
	// whoever is refused leaves the tasks as they are
	if n := read[int](t, pool, `select count(*) from pg_indexes where schemaname = 'klingwatch' and indexname like 'relay, task_id,%'`); n != 0 {
		t.Error("the tasks have an index for a second relay")
	}
	if err := operate.AddRelay(t.Context(), pool, nil, good); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, "the same name", operate.AddRelay(t.Context(), pool, nil, good), operate.Conflict, "", "there is a relay second already")
}

func TestAKeyIsStoredEncrypted(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ring := ringOf(t, "r")
	if err := operate.AddRelay(t.Context(), pool, ring, operate.NewRelay{Name: "second", BaseURL: "https://relay.example", Key: operate.RelayKey{Key: "sk-secret"}}); err != nil {
		t.Fatal(err)
	}
	row, err := operate.GetRelay(t.Context(), pool, "second")
	if err != nil || row.StoredKey == nil || strings.Contains(*row.StoredKey, "sk-secret") {
		t.Fatalf("%+v, %v", row, err)
	}
	client, err := relays.Open(row, relays.Options{Keyring: ring})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := klingapi.New(klingapi.Config{BaseURL: "https://relay.example", Credential: klingapi.StaticKey("sk-secret")})
	if client.Credential() != want.Credential() {
		t.Error("it is another key")
	}
	if _, err := relays.Open(row, relays.Options{}); err == nil || !strings.Contains(err.Error(), "KLINGWATCH_ENCRYPTION_KEY") {
		t.Errorf("without the encryption key: %v", err)
	}
}

func TestARelayIsEditedAndRemoved(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	add := operate.NewRelay{Name: "second", BaseURL: "https://relay.example", Key: operate.RelayKey{File: "/run/key"}}
	if err := operate.AddRelay(t.Context(), pool, nil, add); err != nil {
		t.Fatal(err)
	}
	edit := operate.RelayEdit{BaseURL: new("https://other.example"), BatchSize: new(7), PollRate: new(3.5), OutputLifetime: new(24 * time.Hour), Archive: new(new(false)), Key: operate.RelayKey{AccessKey: "ak", SecretKeyFile: "/run/secret"}}
	if err := operate.EditRelay(t.Context(), pool, nil, "second", edit); err != nil {
		t.Fatal(err)
	}
	row, err := operate.GetRelay(t.Context(), pool, "second")
	if err != nil || row.BaseURL != "https://other.example" || row.BatchSize != 7 || row.PollRate != 3.5 || row.OutputLifetime != 24*time.Hour || *row.Archive || row.KeySource != db.KeyByAccess || row.KeyFile != nil {
		t.Errorf("%+v, %v", row, err)
	}
	for _, archive := range []*bool{nil, new(true)} { // of the relay of the settings as well
		exec(t, pool, `insert into klingwatch.relays (name, base_url, task_path, key_source) values ('default', 'https://relay.example', '/{task_id}', 'settings') on conflict do nothing`)
		for _, name := range []string{"second", db.DefaultRelay} {
			if err := operate.EditRelay(t.Context(), pool, nil, name, operate.RelayEdit{Archive: &archive}); err != nil {
				t.Error(err)
			}
			if row, err := operate.GetRelay(t.Context(), pool, name); err != nil || (row.Archive == nil) != (archive == nil) || archive != nil && !*row.Archive {
				t.Errorf("%s: %+v, %v", name, row, err)
			}
		}
	}
	wantRefusal(t, "nothing", operate.EditRelay(t.Context(), pool, nil, "second", operate.RelayEdit{}), operate.Invalid, "", "say what to change")
	wantRefusal(t, "bad path", operate.EditRelay(t.Context(), pool, nil, "second", operate.RelayEdit{TaskPath: new("x")}), operate.Invalid, "task_path", "slash")
	wantRefusal(t, "unknown", operate.EditRelay(t.Context(), pool, nil, "third", edit), operate.NotFound, "", "there is no relay third")
	wantRefusal(t, "of the settings", operate.EditRelay(t.Context(), pool, nil, "default", operate.RelayEdit{PollRate: new(1.0)}), operate.Conflict, "", "are settings of the service")

	exec(t, pool, `insert into klingwatch.tasks (task_id, action, action2, relay) values ('1', 'videos', 'text2video', 'second')`)
	wantRefusal(t, "open tasks", operate.RemoveRelay(t.Context(), pool, "second"), operate.Conflict, "", "1 tasks of the relay second are still asked about")
	exec(t, pool, `update klingwatch.tasks set status = 'canceled', finished_at = now()`)
	if err := operate.RemoveRelay(t.Context(), pool, "second"); err != nil {
		t.Error(err)
	}
	wantRefusal(t, "gone", operate.RemoveRelay(t.Context(), pool, "second"), operate.NotFound, "", "there is no relay second")
	wantRefusal(t, "of the settings", operate.RemoveRelay(t.Context(), pool, "default"), operate.Conflict, "", "belongs to the settings")
}

func TestACheckTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	sim := klingsim.New(klingsim.Config{Seed: 1, APIKey: "sk-right"})
	server := httptest.NewServer(sim)
	defer server.Close()
	newAPI := httptest.NewServer(klingsim.New(klingsim.Config{Seed: 1, APIKey: "sk-right", Dialect: klingsim.NewAPI}))
	defer newAPI.Close()
	file := func(key string) string {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct {
		relay operate.NewRelay
		path  string // of a tracked task; "": none
		want  relays.Finding
	}{
		"right":              {operate.NewRelay{BaseURL: server.URL, Key: operate.RelayKey{File: file("sk-right")}}, "", relays.KeyRight},
		"right-at-new-api":   {operate.NewRelay{BaseURL: newAPI.URL, Key: operate.RelayKey{File: file("sk-right")}}, "", relays.KeyRight},
		"tracked":            {operate.NewRelay{BaseURL: server.URL, Key: operate.RelayKey{File: file("sk-right")}}, "videos/text2video", relays.KeyRight},
		"refused":            {operate.NewRelay{BaseURL: server.URL, Key: operate.RelayKey{File: file("sk-wrong")}}, "", relays.KeyRefused},
		"refused-at-new-api": {operate.NewRelay{BaseURL: newAPI.URL, Key: operate.RelayKey{File: file("sk-wrong")}}, "", relays.KeyRefused},
		"unrouted":           {operate.NewRelay{BaseURL: newAPI.URL, Key: operate.RelayKey{File: file("sk-right")}}, "images/generations", relays.WrongPath},
		"wrong-prefix":       {operate.NewRelay{BaseURL: server.URL, TaskPath: "/klong/v1/{action}/{action2}/{task_id}", Key: operate.RelayKey{File: file("sk-right")}}, "", relays.WrongPrefix},
		"wrong-host":         {operate.NewRelay{BaseURL: server.URL + "/files", Key: operate.RelayKey{File: file("sk-right")}}, "", relays.WrongHost},
		"unreachable":        {operate.NewRelay{BaseURL: "http://127.0.0.1:1", Key: operate.RelayKey{File: file("sk-right")}}, "", relays.Unreachable},
	} {
		test.relay.Name = name
		if err := operate.AddRelay(t.Context(), pool, nil, test.relay); err != nil {
			t.Fatal(name, err)
		}
		if test.path != "" {
			action, action2, _ := strings.Cut(test.path, "/")
			exec(t, pool, `insert into klingwatch.tasks (task_id, action, action2, relay) values ('ok-1', '`+action+`', '`+action2+`', '`+name+`')`)
		}
		got, err := operate.CheckRelay(t.Context(), pool, name, nil, relays.Options{Timeout: 5 * time.Second})
		if err != nil || got.Finding != test.want || (got.Advice() == "") != (test.want == relays.KeyRight) {
			t.Errorf("%s: %s (%s), %v", name, got.Finding, got, err)
		}
	}
	_, err := operate.CheckRelay(t.Context(), pool, "unknown", nil, relays.Options{})
	wantRefusal(t, "unknown", err, operate.NotFound, "", "there is no relay")
}

func TestTheDocumentedPathsAreThoseOfTheClient(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	var definition string
	if err := pool.QueryRow(t.Context(), `select pg_get_functiondef('klingwatch.is_documented(text, text)'::regprocedure)`).Scan(&definition); err != nil {
		t.Fatal(err)
	}
	for _, action := range klingapi.NewFamily {
		if !strings.Contains(definition, "'"+action+"'") {
			t.Errorf("not in SQL: %s", action)
		}
	}
	for _, ref := range klingapi.Documented {
		path := "'" + ref.Action + "/" + ref.Action2 + "'"
		if !strings.Contains(definition, path) {
			t.Errorf("not in SQL: %s", path)
		}
		definition = strings.ReplaceAll(definition, path, "")
	}
	if at := strings.Index(definition, "/"); at >= 0 && strings.Contains(definition[at:], "'::text") && strings.Count(definition, "/") > 1 {
		t.Errorf("only in SQL: %s", definition)
	}
}
