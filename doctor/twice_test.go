package doctor

import (
	"testing"

	"github.com/klingwatch/klingwatch/db"
)

func TestTwoURLsOfOneRelayAreTold(t *testing.T) {
	t.Parallel()
	at := func(name, baseURL, key string) db.Relay {
		return db.Relay{Name: name, BaseURL: baseURL, TaskPath: "/{task_id}", Credential: &key}
	}
	withFile := func(r db.Relay, keyFile string) db.Relay { r.KeyFile = &keyFile; return r }
	withPath := func(r db.Relay, path string) db.Relay { r.TaskPath = path; return r }
	first := at("a", "https://relay.example", "k1")
	const oneRelay = "a and b are one relay by two URLs, https://relay.example and "
	judged(t, map[string]judgement{
		"a slash":         {judgeTwice([]db.Relay{first, at("b", "https://relay.example/", "k2")}), Warn, oneRelay},
		"the port":        {judgeTwice([]db.Relay{first, at("b", "https://relay.example:443", "k2")}), Warn, oneRelay},
		"capitals":        {judgeTwice([]db.Relay{first, at("b", "https://Relay.Example", "k2")}), Warn, oneRelay},
		"www":             {judgeTwice([]db.Relay{first, at("b", "https://www.relay.example", "k2")}), Warn, oneRelay},
		"http":            {judgeTwice([]db.Relay{first, at("b", "http://relay.example", "k2")}), Warn, oneRelay},
		"the last of all": {judgeTwice([]db.Relay{at("c", "https://c.example", "k3"), first, at("b", "https://relay.example/", "k2")}), Warn, oneRelay},
		"one key":         {judgeTwice([]db.Relay{first, at("b", "https://relay.example", "k1")}), Warn, "with one key"},
		"one key file": {judgeTwice([]db.Relay{withFile(first, "/run/key"), withFile(at("b", "https://eu.example", "k2"), "/run/key")}), Warn,
			"a and b use one key at two URLs"},

		"two accounts": {judgeTwice([]db.Relay{first, at("b", "https://relay.example", "k2")}), OK, ""},
		"two paths":    {judgeTwice([]db.Relay{first, withPath(at("b", "https://relay.example", "k1"), "/v3/{task_id}")}), OK, ""},
		"two relays":   {judgeTwice([]db.Relay{first, at("b", "https://relay.example:8443", "k2")}), OK, ""},
		"below a path": {judgeTwice([]db.Relay{first, at("b", "https://relay.example/kling", "k2")}), OK, ""},
		"never used":   {judgeTwice([]db.Relay{{Name: "a"}, {Name: "b", BaseURL: "https://relay.example"}}), OK, ""},
	})
}
