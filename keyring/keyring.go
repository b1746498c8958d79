package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

const (
	sealedPrefix = "enc_" // then key id, _, base64url of nonce and ciphertext
	keyIDSize    = 4      // bytes of SHA-256 of the key; 8 hex digits
	sealingKey   = 32     // bytes: AES-256
)

var (
	// ErrMissingKey says that a stored secret is encrypted under a key that the
	// keyring does not have. The text of the error contains the id of the key.
	ErrMissingKey = errors.New("the stored secret is encrypted under a key that is missing")
	// ErrTampered says that a stored secret is not what Seal returned.
	ErrTampered = errors.New("the stored secret is damaged or was tampered with: it does not decrypt")
)

// Keyring encrypts secrets for storage with AES-256-GCM. The first key encrypts, all
// keys decrypt. A nil Keyring, or one without keys, leaves secrets in plain text. It
// is safe for concurrent use.
type Keyring struct{ keys []sealer }

type sealer struct {
	id   string // authenticated as well, so that nobody can change the id in a sealed secret
	aead cipher.AEAD
}

// Parse reads keys of 32 bytes in base64, separated by commas; "" gives a keyring
// without keys. The error contains the place of a malformed key, counted from 1, and
// never the key.
func Parse(setting string) (*Keyring, error) {
	k := &Keyring{}
	if strings.TrimSpace(setting) == "" {
		return k, nil
	}
	for i, item := range strings.Split(setting, ",") {
		s, err := newSealer(strings.TrimSpace(item))
		if err != nil {
			return nil, fmt.Errorf("encryption key %d %w", i+1, err)
		}
		k.keys = append(k.keys, s)
	}
	return k, nil
}

func newSealer(encoded string) (sealer, error) {
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) != sealingKey {
		return sealer{}, errors.New("is not the base64 of 32 bytes; openssl rand -base64 32 makes one")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, errors.New("cannot be used for AES-256")
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return sealer{}, errors.New("cannot be used for AES-256-GCM")
	}
	sum := sha256.Sum256(key)
	return sealer{id: hex.EncodeToString(sum[:keyIDSize]), aead: aead}, nil
}

// Encrypts reports whether Seal encrypts: there is a key.
func (k *Keyring) Encrypts() bool { return len(k.all()) > 0 }

// Seal returns the form in which a secret is stored:
// enc_<key id>_<base64url(nonce and ciphertext)>, or the secret itself when
// there is no key.
func (k *Keyring) Seal(secret string) string {
	first, ok := k.first()
	if !ok {
		return secret
	}
	return first.prefix() + base64.RawURLEncoding.EncodeToString(first.aead.Seal(nil, nil, []byte(secret), []byte(first.id)))
}

// Open returns the secret that Seal was given, or a stored plain text unchanged. It
// returns ErrMissingKey when the keyring lacks the key, and ErrTampered when the text
// is malformed or does not decrypt.
func (k *Keyring) Open(stored string) (string, error) {
	sealed, ok := strings.CutPrefix(stored, sealedPrefix)
	if !ok {
		return stored, nil
	}
	id, encoded, ok := strings.Cut(sealed, "_")
	if _, err := hex.DecodeString(id); !ok || err != nil || len(id) != 2*keyIDSize {
		return "", ErrTampered
	}
	ciphertext, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", ErrTampered
	}
	return k.open(id, ciphertext)
}

func (k *Keyring) open(id string, ciphertext []byte) (string, error) {
	err := fmt.Errorf("%w: KLINGWATCH_ENCRYPTION_KEY must hold the key with the id %s", ErrMissingKey, id)
	for _, s := range k.all() {
		if s.id != id {
			continue
		}
		if secret, failed := s.aead.Open(nil, nil, ciphertext, []byte(id)); failed == nil {
			return string(secret), nil
		}
		err = ErrTampered
	}
	return "", err
}

// Current reports whether a stored secret has the form that Seal returns now:
// encrypted under the first key, or plain when there is no key.
func (k *Keyring) Current(stored string) bool {
	first, ok := k.first()
	if !ok {
		return !strings.HasPrefix(stored, sealedPrefix)
	}
	return strings.HasPrefix(stored, first.prefix())
}

func (k *Keyring) first() (sealer, bool) {
	if keys := k.all(); len(keys) > 0 {
		return keys[0], true
	}
	return sealer{}, false
}

func (k *Keyring) all() []sealer {
	if k == nil {
		return nil
	}
	return k.keys
}

func (s sealer) prefix() string { return sealedPrefix + s.id + "_" }
