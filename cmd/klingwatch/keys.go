package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

type keysCommand struct {
	Show   keysShow   `cmd:"" help:"Print the signing secrets: the deployment's, for callback_url, and each endpoint's."`
	Rotate keysRotate `cmd:"" help:"Give the deployment new keys; the old ones also sign for a while."`
}

type keysShow struct {
	JSON bool `help:"Print one JSON object per line."`
}

// Run prints what receivers need: the secret of v1, the public key of v1a.
func (k keysShow) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(s settings, d *database) error {
		if err := ledger.CheckKeyring(ctx, d.Pool, s.keyring()); err != nil {
			return err
		}
		keys, err := readKeys(ctx, s, d)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, key := range keys {
			if k.JSON {
				if err := printJSON(c.out, key); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, []string{ownerOf(key), key.Version, key.Secret, when(key.ExpiresAt), deref(key.URL)})
		}
		if !k.JSON {
			c.printTable([]string{"SIGNS", "VERSION", "SECRET / PUBLIC KEY", "UNTIL", "URL"}, rows)
		}
		return nil
	})
}

func ownerOf(key db.SigningKey) string {
	switch {
	case key.Endpoint != nil:
		return "endpoint " + strconv.FormatInt(*key.Endpoint, 10)
	case key.Version == db.KeyV1a:
		return "all webhooks"
	}
	return "callback_url of tasks"
}

// readKeys returns the keys in the form that receivers need: opened, and the
// public half of those of v1a.
func readKeys(ctx context.Context, s settings, d *database) ([]db.SigningKey, error) {
	keys, err := db.SigningKeys(ctx, d.Pool)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	for i := range keys {
		if keys[i].Secret, err = s.keyring().Open(keys[i].Secret); err != nil {
			return nil, err
		}
		if keys[i].Version == db.KeyV1a {
			if keys[i].Secret, err = webhook.PublicKey(keys[i].Secret); err != nil {
				return nil, err
			}
		}
	}
	return keys, nil
}

// publicKeys returns the v1a keys that sign now, as whpk_.
func publicKeys(ctx context.Context, s settings, d *database) ([]string, error) {
	keys, err := db.SigningKeys(ctx, d.Pool)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	var public []string
	for _, key := range keys {
		if key.Version != db.KeyV1a {
			continue
		}
		private, err := s.keyring().Open(key.Secret)
		if err != nil {
			return nil, err
		}
		whole, err := webhook.PublicKey(private)
		if err != nil {
			return nil, err
		}
		public = append(public, whole)
	}
	return public, nil
}

type keysRotate struct {
	Grace time.Duration `default:"24h" help:"How long the old keys also sign."`
}

func (k keysRotate) Run(ctx context.Context, c *console) error {
	return rotate(ctx, c, nil, k.Grace)
}

// rotate gives an endpoint (nil: the deployment) new keys and prints them.
func rotate(ctx context.Context, c *console, endpoint *int64, grace time.Duration) error {
	if grace < 0 {
		return fmt.Errorf("--grace must not be negative, it is %s", grace)
	}
	return withDatabase(ctx, c, func(s settings, d *database) error {
		if endpoint != nil {
			if _, err := db.GetEndpoint(ctx, d.Pool, *endpoint); err != nil {
				return endpointError(*endpoint, err)
			}
		}
		keys, err := ledger.RotateKeys(ctx, d.Pool, s.keyring(), endpoint, grace)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "signing secret: %s\n", keys[0])
		if len(keys) > 1 {
			public, err := webhook.PublicKey(keys[1])
			if err != nil {
				return err
			}
			fmt.Fprintf(c.out, "public key:     %s\n", public)
		}
		fmt.Fprintf(c.out, "used from now on; the old ones sign as well for %s\n", grace)
		return nil
	})
}
