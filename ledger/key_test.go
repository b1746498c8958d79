package ledger_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

// ring is a keyring whose keys are made of one letter each, the first one in use.
func ring(t testing.TB, letters string) *keyring.Keyring {
	t.Helper()
	var keys []string
	for _, letter := range letters {
		keys = append(keys, base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(letter), 32))))
	}
	return must(keyring.Parse(strings.Join(keys, ",")))(t)
}

// plain returns the keys that sign the webhooks of an endpoint (nil: callbacks), opened.
func plain(t testing.TB, pool *pgxpool.Pool, ring *keyring.Keyring, endpoint *int64) (keys []string) {
	t.Helper()
	for _, stored := range must(db.SigningSecrets(t.Context(), pool, endpoint))(t) {
		keys = append(keys, must(ring.Open(stored))(t))
	}
	return keys
}

func TestKeysAreStoredInTheFormThatTheKeyringGives(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	endpoint := addEndpoint(t, pool, "https://a.example/")
	check(t, ledger.PrepareKeys(t.Context(), pool, nil))
	before := append(plain(t, pool, nil, nil), plain(t, pool, nil, &endpoint)...)
	if len(before) != 4 || !strings.HasPrefix(before[0], "whsec_") || !strings.HasPrefix(before[1], "whsk_") || before[2] != "whsec_own" {
		t.Fatalf("%d keys were made", len(before))
	}
	for _, letters := range []string{"a", "ba", "b", "b"} { // encrypted; another key in front; the old one removed; nothing to do
		r := ring(t, letters)
		check(t, ledger.PrepareKeys(t.Context(), pool, r))
		for _, key := range must(db.SigningKeys(t.Context(), pool))(t) {
			if !r.Current(key.Secret) {
				t.Errorf("keyring %s: a key of endpoint %v is stored in another form", letters, key.Endpoint)
			}
		}
		if after := append(plain(t, pool, r, nil), plain(t, pool, r, &endpoint)...); !slices.Equal(after, before) {
			t.Errorf("keyring %s: the keys have changed", letters)
		}
	}
	for name, other := range map[string]*keyring.Keyring{"none": nil, "another": ring(t, "c")} {
		err := ledger.PrepareKeys(t.Context(), pool, other)
		if !errors.Is(err, keyring.ErrMissingKey) || strings.Contains(err.Error(), "\n") {
			t.Errorf("with %s: %v", name, err)
		}
	}
}

// An endpoint's key that cannot be read is no reason not to start: it is reported
// when it is needed.
func TestAnEndpointsKeyThatCannotBeReadIsLeft(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	addEndpoint(t, pool, "https://a.example/")
	check(t, ledger.PrepareKeys(t.Context(), pool, ring(t, "a")))
	check(t, ledger.PrepareKeys(t.Context(), pool, ring(t, "ba")))
	sealed := ring(t, "c").Seal("whsec_lost")
	run(t, pool, `update klingwatch.signing_keys set secret = $1 where endpoint is not null`, sealed)
	check(t, ledger.PrepareKeys(t.Context(), pool, ring(t, "b")))
	if keys := must(db.SigningKeys(t.Context(), pool))(t); keys[len(keys)-1].Secret != sealed {
		t.Error("a key that cannot be read was replaced")
	}
}

func TestTwoProcessesPrepareTheKeysAtOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	a := ring(t, "a")
	first := begin(t, pool)
	check(t, db.EnsureDeploymentKeys(t.Context(), first, "whsec_first", "whsk_first"))
	wait := dbtest.Blocked(t, pool, func() error { return ledger.PrepareKeys(t.Context(), pool, a) })
	check(t, first.Commit(t.Context()))
	check(t, wait())
	if keys := plain(t, pool, a, nil); !slices.Equal(keys, []string{"whsec_first", "whsk_first"}) {
		t.Errorf("the keys are %q", keys)
	}
}

func TestKeysAreNotStoredWithAnotherKeyring(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, ledger.CheckKeyring(t.Context(), pool, ring(t, "a"))) // the first to come makes them
	check(t, ledger.CheckKeyring(t.Context(), pool, ring(t, "a")))
	for name, other := range map[string]*keyring.Keyring{"none": nil, "another": ring(t, "b"), "a newer one": ring(t, "ba")} {
		if err := ledger.CheckKeyring(t.Context(), pool, other); !errors.Is(err, ledger.ErrOtherKeyring) {
			t.Errorf("with %s: %v", name, err)
		}
		if _, err := ledger.RotateKeys(t.Context(), pool, other, db.KeyOwner{}, time.Hour); !errors.Is(err, ledger.ErrOtherKeyring) {
			t.Errorf("rotating with %s: %v", name, err)
		}
	}
	if n := len(plain(t, pool, ring(t, "a"), nil)); n != 2 {
		t.Errorf("%d keys", n)
	}
}

func TestRotatedKeysSignFirst(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	a := ring(t, "a")
	endpoint := addEndpoint(t, pool, "https://a.example/")
	check(t, ledger.PrepareKeys(t.Context(), pool, a))
	before := plain(t, pool, a, nil)
	fresh := must(ledger.RotateKeys(t.Context(), pool, a, db.KeyOwner{}, time.Hour))(t)
	if len(fresh) != 2 {
		t.Fatalf("%d new keys", len(fresh))
	}
	if _, err := webhook.PublicKey(fresh[1]); err != nil || !strings.HasPrefix(fresh[0], "whsec_") {
		t.Errorf("the new keys cannot be used: %v", err)
	}
	if keys := plain(t, pool, a, nil); !slices.Equal(keys, []string{fresh[0], before[0], fresh[1], before[1]}) {
		t.Error("callbacks are not signed with the new keys before the old ones")
	}
	own := must(ledger.RotateKeys(t.Context(), pool, a, db.KeyOwner{Endpoint: &endpoint}, 0))(t)
	if keys := plain(t, pool, a, &endpoint); len(own) != 1 || !slices.Equal(keys, []string{own[0], fresh[1], before[1]}) {
		t.Error("the endpoint's webhooks are not signed with its new key alone, and the deployment's v1a")
	}
	if _, err := ledger.RotateKeys(t.Context(), pool, a, db.KeyOwner{Endpoint: new(int64(12345))}, 0); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an endpoint that is not there: %v", err)
	}
}

// Two people rotate the keys at once: one rotation follows the other.
func TestTwoRotateTheKeysAtOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, ledger.PrepareKeys(t.Context(), pool, nil))
	before := plain(t, pool, nil, nil)
	first := begin(t, pool)
	check(t, db.RetireKeys(t.Context(), first, db.KeyOwner{}, db.KeyV1, time.Hour))
	check(t, db.AddKey(t.Context(), first, db.KeyOwner{}, db.KeyV1, "whsec_first"))
	var second []string
	wait := dbtest.Blocked(t, pool, func() (err error) {
		second, err = ledger.RotateKeys(t.Context(), pool, nil, db.KeyOwner{}, time.Hour)
		return err
	})
	check(t, first.Commit(t.Context()))
	check(t, wait())
	if keys := plain(t, pool, nil, nil); !slices.Equal(keys, []string{second[0], "whsec_first", before[0], second[1], before[1]}) {
		t.Errorf("%d keys, not those of both rotations", len(keys))
	}
}
