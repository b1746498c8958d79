package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
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
		keys, err := operate.VerificationKeys(ctx, d.Pool, s.keyring())
		if err != nil {
			return err
		}
		if k.JSON {
			return printLines(c.out, keys)
		}
		var rows [][]string
		for _, key := range keys {
			rows = append(rows, []string{ownerOf(key), key.Version, key.Secret, when(key.ExpiresAt), deref(key.URL)})
		}
		c.printTable([]string{"SIGNS", "VERSION", "SECRET / PUBLIC KEY", "UNTIL", "URL"}, rows)
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
		keys, err := operate.RotateKeys(ctx, d.Pool, s.keyring(), endpoint, grace)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "signing secret: %s\n", keys.Secret)
		if keys.PublicKey != "" {
			fmt.Fprintf(c.out, "public key:     %s\n", keys.PublicKey)
		}
		fmt.Fprintf(c.out, "used from now on; the old ones sign as well for %s\n", grace)
		return nil
	})
}
