package operate_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/operate"
)

// ringOf returns a keyring whose only key is made of one letter.
func ringOf(t *testing.T, letter string) *keyring.Keyring {
	t.Helper()
	ring, err := keyring.Parse(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, 32))))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// owner and version of a key, and the form of its secret.
type keyForm struct {
	endpoint int64 // 0: the deployment
	version  string
	prefix   string
	old      bool
}

// formsOf returns the verification keys' forms, and their secrets.
func formsOf(keys []db.SigningKey) (forms []keyForm, secrets []string) {
	for _, key := range keys {
		form := keyForm{version: key.Version, prefix: key.Secret[:5], old: key.ExpiresAt != nil}
		if key.Endpoint != nil {
			form.endpoint = *key.Endpoint
		}
		forms, secrets = append(forms, form), append(secrets, key.Secret)
	}
	return forms, secrets
}

// Receivers verify v1 with the secret itself and v1a with a public key; no private
// key leaves the database, encrypted or not.
func TestVerificationKeysAreWhatReceiversNeed(t *testing.T) {
	t.Parallel()
	for name, ring := range map[string]*keyring.Keyring{"in plain": nil, "encrypted": ringOf(t, "a")} {
		pool := dbtest.New(t)
		if keys, err := operate.PublicKeys(t.Context(), pool, ring); err != nil || len(keys) != 0 {
			t.Errorf("%s: before there are any: %q, %v", name, keys, err)
		}
		if n := read[int](t, pool, `select count(*) from klingwatch.signing_keys`); n != 0 {
			t.Errorf("%s: looking at them made %d", name, n)
		}
		added, err := operate.AddEndpoint(t.Context(), pool, ring, operate.NewEndpoint{URL: "https://app.example/hook"})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := operate.VerificationKeys(t.Context(), pool, ring)
		if err != nil {
			t.Fatal(err)
		}
		forms, secrets := formsOf(keys)
		want := []keyForm{{0, db.KeyV1, "whsec", false}, {0, db.KeyV1a, "whpk_", false}, {1, db.KeyV1, "whsec", false}}
		if !slices.Equal(forms, want) || secrets[2] != added.Secret || *keys[2].URL != "https://app.example/hook" {
			t.Errorf("%s: %+v", name, keys)
		}
		if public, err := operate.PublicKeys(t.Context(), pool, ring); err != nil || !slices.Equal(public, secrets[1:2]) {
			t.Errorf("%s: public keys %q, %v", name, public, err)
		}
		inPlain := read[int](t, pool, `select count(*) from klingwatch.signing_keys where secret like 'whs%'`)
		if want := map[string]int{"in plain": 3, "encrypted": 0}[name]; inPlain != want {
			t.Errorf("%s: %d are stored in plain", name, inPlain)
		}
	}
}

// A key of another form would sign what nobody can verify, or lie in plain among
// encrypted ones.
func TestAnotherKeyringIsRefused(t *testing.T) {
	t.Parallel()
	for _, rings := range [][2]*keyring.Keyring{{nil, ringOf(t, "a")}, {ringOf(t, "a"), nil}, {ringOf(t, "a"), ringOf(t, "b")}} {
		pool := dbtest.New(t)
		if _, err := operate.VerificationKeys(t.Context(), pool, rings[0]); err != nil { // makes them
			t.Fatal(err)
		}
		for name, ask := range map[string]func() error{
			"keys": func() error { _, err := operate.VerificationKeys(t.Context(), pool, rings[1]); return err },
			"rotate": func() error {
				_, err := operate.RotateKeys(t.Context(), pool, rings[1], db.KeyOwner{}, time.Hour)
				return err
			},
			"add": func() error {
				_, err := operate.AddEndpoint(t.Context(), pool, rings[1], operate.NewEndpoint{URL: "https://app.example/hook"})
				return err
			},
			"ping": func() error {
				_, err := operate.Ping(t.Context(), pool, rings[1], nil, "https://app.example/hook")
				return err
			},
		} {
			if err := ask(); !errors.Is(err, ledger.ErrOtherKeyring) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := read[int](t, pool, `select count(*) from klingwatch.signing_keys`); n != 2 {
			t.Errorf("there are %d keys", n)
		}
	}
	// a key that is not at hand cannot be published, and that is no reason to publish nothing
	pool := dbtest.New(t)
	if _, err := operate.VerificationKeys(t.Context(), pool, ringOf(t, "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := operate.PublicKeys(t.Context(), pool, ringOf(t, "b")); err == nil || !strings.Contains(err.Error(), "opening a signing key") {
		t.Errorf("public keys that cannot be opened: %v", err)
	}
}

// Old keys sign until their grace has passed; rotating an endpoint's leaves the
// deployment's alone.
func TestRotatedKeys(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	added, err := operate.AddEndpoint(t.Context(), pool, nil, operate.NewEndpoint{URL: "https://app.example/hook"})
	if err != nil {
		t.Fatal(err)
	}
	deployment, err := operate.RotateKeys(t.Context(), pool, nil, db.KeyOwner{}, time.Hour)
	if err != nil || !strings.HasPrefix(deployment.Secret, "whsec_") || !strings.HasPrefix(deployment.PublicKey, "whpk_") {
		t.Fatalf("%+v, %v", deployment, err)
	}
	endpoint, err := operate.RotateKeys(t.Context(), pool, nil, db.KeyOwner{Endpoint: &added.ID}, 0)
	if err != nil || !strings.HasPrefix(endpoint.Secret, "whsec_") || endpoint.PublicKey != "" || endpoint.Secret == added.Secret {
		t.Fatalf("%+v, %v", endpoint, err)
	}
	keys, err := operate.VerificationKeys(t.Context(), pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	forms, secrets := formsOf(keys)
	want := []keyForm{
		{0, db.KeyV1, "whsec", false}, {0, db.KeyV1, "whsec", true},
		{0, db.KeyV1a, "whpk_", false}, {0, db.KeyV1a, "whpk_", true},
		{1, db.KeyV1, "whsec", false}, // no grace: the old one is gone
	}
	if !slices.Equal(forms, want) || secrets[0] != deployment.Secret || secrets[2] != deployment.PublicKey || secrets[4] != endpoint.Secret {
		t.Errorf("%+v", keys)
	}
	if left := time.Until(*keys[1].ExpiresAt); left > time.Hour || left < 59*time.Minute {
		t.Errorf("the old key signs for %s", left)
	}
	if public, err := operate.PublicKeys(t.Context(), pool, nil); err != nil || !slices.Equal(public, secrets[2:4]) {
		t.Errorf("public keys %q, %v", public, err)
	}
	_, err = operate.RotateKeys(t.Context(), pool, nil, db.KeyOwner{}, -time.Second)
	wantRefusal(t, "a grace in the past", err, operate.Invalid, "grace", "must not be negative, it is -1s")
}

// An app shows its own keys where it has some, else the deployment's; another's never.
func TestTheKeysOfAnApp(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	shop, blog := dbtest.NewRole(t), dbtest.NewRole(t)
	secretsOf := func(app string) []string {
		keys, err := operate.VerificationKeysOf(t.Context(), pool, nil, app)
		if err != nil {
			t.Fatal(err)
		}
		_, secrets := formsOf(keys)
		return secrets
	}
	deployment := secretsOf(blog)
	rotated, err := operate.RotateKeys(t.Context(), pool, nil, db.KeyOwner{App: shop}, time.Hour)
	if err != nil || rotated.PublicKey != "" {
		t.Fatalf("%+v, %v", rotated, err)
	}
	if got := secretsOf(shop); !slices.Equal(got, []string{deployment[1], rotated.Secret, deployment[0]}) {
		t.Errorf("the app has %q", got)
	}
	if got := secretsOf(blog); !slices.Equal(got, deployment) || len(got) != 2 {
		t.Errorf("another app has %q, the deployment %q", got, deployment)
	}
	_, err = operate.RotateKeys(t.Context(), pool, nil, db.KeyOwner{App: "nobody at all"}, time.Hour)
	if refused, ok := errors.AsType[*operate.Error](err); !ok || refused.Code != operate.NotFound {
		t.Errorf("a name that no role has: %v", err)
	}
}
