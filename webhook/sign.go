package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

const (
	secretPrefix = "whsec_"
	// The spec asks for 24 to 64 bytes of key.
	minKey, newKey, maxKey = 24, 32, 64
)

// ErrSecret says that a secret has not the form whsec_ + base64 of 24 to 64 bytes.
var ErrSecret = errors.New("a signing secret must be whsec_ followed by the base64 of 24 to 64 bytes")

// NewSecret returns whsec_ and the base64 of 32 random bytes.
func NewSecret() string {
	key := make([]byte, newKey)
	_, _ = rand.Read(key) // never fails, by its documentation
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// NewEventID returns a fresh webhook-id: msg_ and 26 letters and digits.
func NewEventID() string { return "msg_" + rand.Text() }

// Sign returns the webhook-signature header: one v1 signature per secret, in
// the order given (newest first while a secret is being rotated). The signed
// bytes are {id}.{unix seconds}.{body}. It returns ErrSecret for a malformed
// secret and for none at all.
func Sign(secrets []string, id string, at time.Time, body []byte) (string, error) {
	if len(secrets) == 0 {
		return "", ErrSecret
	}
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		key, err := decodeSecret(secret)
		if err != nil {
			return "", err
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " "), nil
}

func decodeSecret(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return nil, ErrSecret
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) < minKey || len(key) > maxKey {
		return nil, ErrSecret
	}
	return key, nil
}
