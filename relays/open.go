package relays

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/klingapi"
)

// Options are what the rows do not say.
type Options struct {
	Keyring   *keyring.Keyring // opens stored keys; nil, or one without keys: it opens none
	Timeout   time.Duration    // of one request
	UserAgent string
}

// ErrInSettings says that the key of a relay is in the settings of the service, and not
// in its row: that of db.DefaultRelay.
var ErrInSettings = errors.New("its key is in the settings of the service")

// Open returns a client for a relay. Its errors are for people: one line that names the
// file, never the key.
func Open(row db.Relay, o Options) (*klingapi.Client, error) {
	credential, err := credentialOf(row, o.Keyring)
	if err != nil {
		return nil, err
	}
	return klingapi.New(klingapi.Config{
		BaseURL: row.BaseURL, TaskPath: row.TaskPath, Credential: credential, Timeout: o.Timeout, UserAgent: o.UserAgent,
	})
}

func credentialOf(row db.Relay, k *keyring.Keyring) (klingapi.Credential, error) {
	switch {
	case row.KeySource == db.KeyInSettings:
		return nil, ErrInSettings
	case row.KeyFile != nil:
		return klingapi.NewKeyFile(*row.KeyFile)
	case row.StoredKey != nil:
		key, err := k.Open(*row.StoredKey)
		if err != nil {
			return nil, fmt.Errorf("opening its key: %w", err)
		}
		return klingapi.StaticKey(key), nil
	case row.AccessKey != nil && row.SecretKeyFile != nil:
		secret, err := os.ReadFile(*row.SecretKeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the file of its secret key: %w", err)
		}
		return klingapi.NewAccessKey(*row.AccessKey, strings.TrimSpace(string(secret)))
	}
	return nil, errors.New("it has no key")
}
