package relays_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/relays"
)

const encryptionKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

func row(source string, change func(*db.Relay)) db.Relay {
	r := db.Relay{Name: "second", BaseURL: "https://relay.example", TaskPath: klingapi.DefaultTaskPath, KeySource: source}
	change(&r)
	return r
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAKeyIsFoundWhereItsRowSays(t *testing.T) {
	t.Parallel()
	ring, err := keyring.Parse(encryptionKey)
	if err != nil {
		t.Fatal(err)
	}
	want, err := klingapi.New(klingapi.Config{BaseURL: "https://relay.example", Credential: klingapi.StaticKey("sk-secret")})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]db.Relay{
		"in a file":  row(db.KeyInFile, func(r *db.Relay) { r.KeyFile = new(write(t, " sk-secret\n")) }),
		"in its row": row(db.KeyStored, func(r *db.Relay) { r.StoredKey = new(ring.Seal("sk-secret")) }),
	} {
		client, err := relays.Open(r, relays.Options{Keyring: ring})
		if err != nil || client.Credential() != want.Credential() {
			t.Errorf("%s: %v", name, err)
		}
	}
	pair := row(db.KeyByAccess, func(r *db.Relay) { r.AccessKey, r.SecretKeyFile = new("ak"), new(write(t, "sk")) })
	if _, err := relays.Open(pair, relays.Options{}); err != nil {
		t.Errorf("a pair of keys: %v", err)
	}
}

func TestAKeyThatIsNotThereIsNamedByItsPlace(t *testing.T) {
	t.Parallel()
	ring, err := keyring.Parse(encryptionKey)
	if err != nil {
		t.Fatal(err)
	}
	for part, r := range map[string]db.Relay{
		"/nowhere/key":               row(db.KeyInFile, func(r *db.Relay) { r.KeyFile = new("/nowhere/key") }),
		"/nowhere/secret":            row(db.KeyByAccess, func(r *db.Relay) { r.AccessKey, r.SecretKeyFile = new("ak"), new("/nowhere/secret") }),
		"KLINGWATCH_ENCRYPTION_KEY":  row(db.KeyStored, func(r *db.Relay) { r.StoredKey = new(ring.Seal("sk-secret")) }),
		"it has no key":              row(db.KeyInFile, func(*db.Relay) {}),
		"in the settings of the ser": row(db.KeyInSettings, func(r *db.Relay) { r.Name = db.DefaultRelay }),
		"must be like https://":      row(db.KeyInFile, func(r *db.Relay) { r.BaseURL, r.KeyFile = "relay.example", new(write(t, "k")) }),
	} {
		_, err := relays.Open(r, relays.Options{})
		if err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "sk-secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", part, err)
		}
		if inSettings := errors.Is(err, relays.ErrInSettings); inSettings != (r.KeySource == db.KeyInSettings) {
			t.Errorf("%s: %v", part, err)
		}
	}
}
