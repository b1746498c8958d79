package doctor

import (
	"testing"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

func TestARelayThatIsKnownByTwoNamesIsTold(t *testing.T) {
	t.Parallel()
	relay := func(name, base, path, credential string) db.Relay {
		return db.Relay{Name: name, BaseURL: base, TaskPath: path, Credential: &credential}
	}
	const usual = "/kling/v1/{action}/{action2}/{task_id}"
	first := relay("default", "https://relay.example", usual, "a")
	own, err := klingapi.New(klingapi.Config{BaseURL: "https://relay.example/", TaskPath: usual, Credential: klingapi.StaticKey("k")})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	both := func(other db.Relay) Finding { return judgeNames([]db.Relay{first, other}, own) }
	const one = "default and second are one relay, https://relay.example" + usual
	judged(t, map[string]judgement{
		"another slash":     {both(relay("second", "https://relay.example/", usual, "a")), Warn, one + ", with one key: an id that is tracked at both is two tasks"},
		"capitals":          {both(relay("second", "HTTPS://Relay.Example", usual, "a")), Warn, one},
		"the usual port":    {both(relay("second", "https://relay.example:443", usual, "a")), Warn, one},
		"a dot at the end":  {both(relay("second", "https://relay.example.", usual, "a")), Warn, one},
		"path in the base":  {both(relay("second", "https://relay.example/kling/v1/", "/{action}/{action2}/{task_id}", "a")), Warn, one},
		"another key":       {both(relay("second", "https://relay.example:443/", usual, "b")), OK, one + ", with a key each"},
		"a key not used":    {both(db.Relay{Name: "second", BaseURL: "https://relay.example", TaskPath: usual}), OK, "with a key each"},
		"another host":      {both(relay("second", "https://other.example", usual, "a")), OK, "2 known, nothing is wrong with them"},
		"another port":      {both(relay("second", "https://relay.example:8443", usual, "a")), OK, "2 known, nothing is wrong with them"},
		"another API there": {both(relay("second", "https://relay.example", "/tasks?task_ids={task_ids}", "a")), OK, "2 known, nothing is wrong with them"},
		"the settings":      {judgeNames([]db.Relay{relay("second", "https://RELAY.example", usual, own.Credential())}, own), Warn, "second and default are one relay"},
	})
	if f := both(relay("second", "https://other.example", usual, "a")); f.Found != "2 known, nothing is wrong with them" {
		t.Errorf("%+v", f)
	}
}
