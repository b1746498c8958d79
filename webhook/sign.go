package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The forms of keys in Standard Webhooks.
const (
	secretPrefix  = "whsec_" // v1, HMAC-SHA256: 24 to 64 bytes, shared with the receiver
	privatePrefix = "whsk_"  // v1a, ed25519: 32 bytes of seed, 32 of its public key
	publicPrefix  = "whpk_"  // the public key alone, for receivers

	minKey, newKey, maxKey = 24, 32, 64
)

// ErrInvalidKey says that a key has none of the forms of Standard Webhooks.
var ErrInvalidKey = errors.New("a signing key must be whsec_ followed by the base64 of 24 to 64 bytes, " +
	"or whsk_ (its public half: whpk_) followed by the base64 of an ed25519 key")

// NewSecret returns whsec_ and the base64 of 32 random bytes.
func NewSecret() string {
	key := make([]byte, newKey)
	_, _ = rand.Read(key) // never fails, by its documentation
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// NewPrivateKey returns whsk_ and the base64 of a fresh ed25519 key, seed and
// public half.
func NewPrivateKey() string {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails, by its documentation
	return privatePrefix + base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(seed))
}

// PublicKey returns whpk_ and the base64 of the public half of a whsk_ key, and
// ErrInvalidKey for anything else.
func PublicKey(privateKey string) (string, error) {
	key, err := decodePrivateKey(privateKey)
	if err != nil {
		return "", err
	}
	return publicPrefix + base64.StdEncoding.EncodeToString(key[ed25519.SeedSize:]), nil
}

// Sign returns the webhook-signature header: one signature per key, v1 for
// whsec_ and v1a for whsk_, in the order given (newest first while a key is
// being rotated). The signed bytes are {id}.{unix seconds}.{body}. It returns
// ErrInvalidKey for a malformed key and for no key at all.
func Sign(secrets []string, id string, at time.Time, body []byte) (string, error) {
	if len(secrets) == 0 {
		return "", ErrInvalidKey
	}
	signed := append([]byte(id+"."+strconv.FormatInt(at.Unix(), 10)+"."), body...)
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		version, signature, err := sign(secret, signed)
		if err != nil {
			return "", err
		}
		signatures[i] = version + "," + base64.StdEncoding.EncodeToString(signature)
	}
	return strings.Join(signatures, " "), nil
}

func sign(secret string, signed []byte) (version string, signature []byte, err error) {
	if strings.HasPrefix(secret, privatePrefix) {
		key, err := decodePrivateKey(secret)
		if err != nil {
			return "", nil, err
		}
		return "v1a", ed25519.Sign(key, signed), nil
	}
	key, err := decode(secretPrefix, secret, minKey, maxKey)
	if err != nil {
		return "", nil, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(signed)
	return "v1", mac.Sum(nil), nil
}

// decodePrivateKey also checks that the public half belongs to the seed: signatures
// made with a wrong one give the private key away.
func decodePrivateKey(encoded string) (ed25519.PrivateKey, error) {
	key, err := decode(privatePrefix, encoded, ed25519.PrivateKeySize, ed25519.PrivateKeySize)
	if err != nil {
		return nil, err
	}
	if !ed25519.NewKeyFromSeed(key[:ed25519.SeedSize]).Equal(ed25519.PrivateKey(key)) {
		return nil, ErrInvalidKey
	}
	return key, nil
}

// decode returns the bytes behind a prefix, of which there must be least to most.
func decode(prefix, key string, least, most int) ([]byte, error) {
	encoded, ok := strings.CutPrefix(key, prefix)
	if !ok {
		return nil, ErrInvalidKey
	}
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(decoded) < least || len(decoded) > most {
		return nil, ErrInvalidKey
	}
	return decoded, nil
}

// jwk is an ed25519 public key as RFC 8037 section 2 writes it.
type jwk struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"` // base64url without padding, of the 32 bytes
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"` // thumbprint
}

// JWKS returns whpk_ keys as a JSON Web Key Set (RFC 7517), in the order given:
// {"keys":[]} for none. It returns ErrInvalidKey for a malformed one.
func JWKS(publicKeys []string) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{make([]jwk, len(publicKeys))}
	for i, publicKey := range publicKeys {
		x, err := coordinate(publicKey)
		if err != nil {
			return nil, err
		}
		set.Keys[i] = jwk{KeyType: "OKP", Curve: "Ed25519", X: x, Use: "sig", Algorithm: "EdDSA", ID: thumbprint(x)}
	}
	return json.Marshal(set)
}

// KeyID is the id (kid) that a public key, as whpk_, has in JWKS.
func KeyID(publicKey string) (string, error) {
	x, err := coordinate(publicKey)
	return thumbprint(x), err
}

// coordinate is a public key as a JSON Web Key has it.
func coordinate(publicKey string) (string, error) {
	key, err := decode(publicPrefix, publicKey, ed25519.PublicKeySize, ed25519.PublicKeySize)
	return base64.RawURLEncoding.EncodeToString(key), err
}

// thumbprint is the one of RFC 7638: over the required members in alphabetical
// order, without spaces.
func thumbprint(x string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":%q}`, x))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
