package worker

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

func TestARotatedKeySignsAtOnceAndTheOldOneForAWhile(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	old := deploymentSecret(t, pool)
	trusting, strict := newConsumer(t, old), newConsumer(t)
	startWorker(t, config(t, pool, relayURL))
	track(t, pool, "images/generations", trusting.URL, "quick-before")
	await(t, "the first webhook arrives", func() bool { return len(trusting.received()) == 1 })

	fresh, err := ledger.RotateKeys(t.Context(), pool, nil, db.KeyOwner{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	strict.secrets = fresh[:1]
	track(t, pool, "images/generations", trusting.URL, "quick-after")
	track(t, pool, "images/generations", strict.URL, "quick-strict")
	await(t, "both receivers accept", func() bool { return len(trusting.received()) == 2 && len(strict.received()) == 1 })

	if _, err := ledger.RotateKeys(t.Context(), pool, nil, db.KeyOwner{}, 0); err != nil {
		t.Fatal(err)
	}
	track(t, pool, "videos/text2video", strict.URL, "quick-late")
	await(t, "a receiver that still has the key that ended refuses", func() bool {
		return number(t, pool, `select count(*) from klingwatch.delivery_attempts where status_code = 403`) == 1
	})
	if strict.forged != 1 || trusting.forged != 0 {
		t.Errorf("refused: %d and %d", strict.forged, trusting.forged)
	}
}

func TestEveryWebhookIsSignedByThePublishedKeyToo(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	receiver := newDeliveryLog(t, nil)
	addEndpoint(t, pool, db.NewEndpoint{URL: receiver.URL})
	startWorker(t, config(t, pool, relayURL))
	track(t, pool, "images/generations", receiver.URL+"/callback", "quick-1")
	await(t, "callback and endpoint are told", func() bool { return len(receiver.all()) == 2 })
	var stored string
	if err := pool.QueryRow(t.Context(), `select secret from klingwatch.signing_keys where version = 'v1a'`).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	public, err := webhook.PublicKey(stored)
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public, "whpk_"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range receiver.all() {
		signatures := strings.Fields(p.header.Get("webhook-signature"))
		if len(signatures) != 2 || !strings.HasPrefix(signatures[0], "v1,") {
			t.Fatalf("signatures %q", signatures)
		}
		signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signatures[1], "v1a,"))
		signed := p.header.Get("webhook-id") + "." + p.header.Get("webhook-timestamp") + "." + string(p.body)
		if err != nil || !ed25519.Verify(key, []byte(signed), signature) {
			t.Errorf("%q is not the signature of %s (%v)", signatures[1], signed, err)
		}
	}
}

func TestStoredKeysAreEncryptedAndAMissingKeyLosesNothing(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	plain := deploymentSecret(t, pool)
	withKey := func(fill string) *keyring.Keyring {
		k, err := keyring.Parse(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32))))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if err := ledger.PrepareKeys(t.Context(), pool, withKey("a")); err != nil {
		t.Fatal(err)
	}
	if n := number(t, pool, `select count(*) from klingwatch.signing_keys where secret not like 'enc\_%'`); n > 0 {
		t.Errorf("%d keys are stored plainly", n)
	}
	if err := ledger.PrepareKeys(t.Context(), pool, withKey("b")); err == nil || !strings.Contains(err.Error(), "KLINGWATCH_ENCRYPTION_KEY") {
		t.Errorf("with another key: %v", err)
	}
	consumer := newConsumer(t, plain)
	cfg := config(t, pool, relayURL)
	cfg.Keyring = withKey("a")
	stop := startWorker(t, cfg)
	track(t, pool, "images/generations", consumer.URL, "quick-1")
	await(t, "the encrypted key signs", func() bool { return len(consumer.received()) == 1 })
	// another deployment's key comes into the table while we run
	if _, err := ledger.RotateKeys(t.Context(), pool, withKey("b"), db.KeyOwner{}, 0); !errors.Is(err, ledger.ErrOtherKeyring) {
		t.Errorf("rotating with another key than the service has: %v", err)
	}
	other := webhook.NewSecret()
	for _, sql := range []string{
		`update klingwatch.signing_keys set expires_at = now() where version = 'v1'`,
		`insert into klingwatch.signing_keys (version, secret) values ('v1', '` + withKey("b").Seal(other) + `')`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	track(t, pool, "images/generations", consumer.URL, "quick-2")
	await(t, "the webhook waits, with the reason", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'pending' and attempts = 0 and last_error like 'signing_error: %'`) == 1
	})
	stop()
	// the operator gives both keys
	both, err := keyring.Parse(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("b", 32))) + "," + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a", 32))))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Keyring = both
	consumer.mu.Lock()
	consumer.secrets = []string{other}
	consumer.mu.Unlock()
	if _, err := pool.Exec(t.Context(), `update klingwatch.deliveries set next_attempt_at = now() where state = 'pending'`); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `select klingwatch.give_jobs('deliver', array_agg(id)) from klingwatch.deliveries where state = 'pending'`); err != nil {
		t.Fatal(err)
	}
	startWorker(t, cfg)
	await(t, "it goes out, signed with the new key", func() bool { return len(consumer.received()) == 2 })
}
