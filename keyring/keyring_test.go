package keyring_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/klingwatch/klingwatch/keyring"
)

// encryptionKey returns a key made of 32 times the same byte.
func encryptionKey(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32))
}

// newSecret returns a signing secret like those that are stored.
func newSecret() string { return "whsec_" + rand.Text() }

func parse(t interface{ Fatal(...any) }, setting string) *keyring.Keyring {
	k, err := keyring.Parse(setting)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestASealedSecretOpensAgain(t *testing.T) {
	t.Parallel()
	k := parse(t, encryptionKey(1))
	form := regexp.MustCompile(`^enc_[0-9a-f]{8}_[A-Za-z0-9_-]+$`)
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.String().Draw(t, "secret")
		sealed := k.Seal(secret)
		if opened, err := k.Open(sealed); err != nil || opened != secret || !form.MatchString(sealed) || !k.Current(sealed) {
			t.Fatalf("%q -> %q -> %q, %v", secret, sealed, opened, err)
		}
	})
	if secret := newSecret(); k.Seal(secret) == k.Seal(secret) {
		t.Error("the same nonce twice")
	}
}

func TestWithoutAKeySecretsAreStoredPlainly(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]*keyring.Keyring{"nil": nil, "zero": {}, "empty": parse(t, ""), "blank": parse(t, " ")} {
		secret := newSecret()
		opened, err := k.Open(secret)
		if k.Seal(secret) != secret || opened != secret || err != nil || !k.Current(secret) {
			t.Errorf("%s: %q, %v", name, opened, err)
		}
		sealed := parse(t, encryptionKey(1)).Seal(secret)
		if opened, err := k.Open(sealed); !errors.Is(err, keyring.ErrMissingKey) || opened != "" || k.Current(sealed) {
			t.Errorf("%s, sealed: %q, %v", name, opened, err)
		}
	}
}

// A key is introduced, replaced and retired without losing a secret.
func TestEncryptionKeysAreRotated(t *testing.T) {
	t.Parallel()
	older, both, newer := parse(t, encryptionKey(1)), parse(t, encryptionKey(2)+", "+encryptionKey(1)), parse(t, encryptionKey(2))
	secret := newSecret()
	for _, stored := range []string{secret, older.Seal(secret), newer.Seal(secret)} {
		if opened, err := both.Open(stored); err != nil || opened != secret {
			t.Errorf("%q: %q, %v", stored, opened, err)
		}
	}
	if both.Current(secret) || both.Current(older.Seal(secret)) || !both.Current(newer.Seal(secret)) || !newer.Current(both.Seal(secret)) {
		t.Error("the first key is not the current one")
	}
	stored := older.Seal(secret)
	id := strings.Split(stored, "_")[1]
	_, err := newer.Open(stored)
	if !errors.Is(err, keyring.ErrMissingKey) || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "KLINGWATCH_ENCRYPTION_KEY") {
		t.Errorf("%v, want the key id %s", err, id)
	}
}

func TestATamperedSecretDoesNotOpen(t *testing.T) {
	t.Parallel()
	k := parse(t, encryptionKey(1)+","+encryptionKey(2))
	sealed := k.Seal(newSecret())
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.IntRange(len("enc_"), len(sealed)-1).Draw(t, "at")
		with := rapid.SampledFrom([]byte("0aA_-%\x00\xff")).Draw(t, "with")
		changed := sealed[:at] + string(with) + sealed[at+1:]
		if changed == sealed {
			t.Skip("nothing was changed")
		}
		opened, err := k.Open(changed)
		if opened != "" || !errors.Is(err, keyring.ErrTampered) && !errors.Is(err, keyring.ErrMissingKey) {
			t.Fatalf("%q: %q, %v", changed, opened, err)
		}
	})
	private := k.Seal(strings.Repeat("x", 93)) // this length leaves bits of the last letter unused
	for _, last := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		changed := private[:len(private)-1] + string(last)
		if _, err := k.Open(changed); (err == nil) != (changed == private) {
			t.Errorf("%q instead of %q: %v", changed, private, err)
		}
	}
	other := parse(t, encryptionKey(2)).Seal(newSecret())
	for name, stored := range map[string]string{
		"prefix alone":       "enc_",
		"no key id":          "enc__AAAA",
		"a secret in it":     "enc_" + newSecret(),
		"nothing encrypted":  sealed[:len("enc_01234567_")],
		"cut":                sealed[:len(sealed)-4],
		"another key's name": sealed[:len("enc_01234567_")] + other[len("enc_01234567_"):],
	} {
		if opened, err := k.Open(stored); opened != "" || !errors.Is(err, keyring.ErrTampered) || strings.Contains(err.Error(), "whsec") {
			t.Errorf("%s: %q, %v", name, opened, err)
		}
	}
}

func TestAMalformedEncryptionKeyIsNamedByItsPlace(t *testing.T) {
	t.Parallel()
	good := encryptionKey(1)
	for setting, place := range map[string]string{
		"hunter2hunter2": "key 1",
		good + ",hunter2hunter2hunter2hunter2hunter2hunter2": "key 2",
		good + ",":              "key 2",
		",":                     "key 1",
		strings.Trim(good, "="): "key 1",
		base64.StdEncoding.EncodeToString([]byte("only 16 bytes...")): "key 1",
	} {
		_, err := keyring.Parse(setting)
		if err == nil || !strings.Contains(err.Error(), place) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "AQEB") {
			t.Errorf("%q: %v", setting, err)
		}
	}
	if shown := fmt.Sprintf("%v %+v %#v", parse(t, good), parse(t, good), *parse(t, good)); strings.Contains(shown, "AQEB") || strings.Contains(shown, "0x1, 0x1") {
		t.Errorf("a printed keyring shows its key: %s", shown)
	}
}

func TestAKeyringIsUsedByManyAtOnce(t *testing.T) {
	t.Parallel()
	k := parse(t, encryptionKey(1))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				secret := newSecret()
				if opened, err := k.Open(k.Seal(secret)); err != nil || opened != secret {
					t.Errorf("%q, %v", opened, err)
				}
			}
		})
	}
	all.Wait()
}
