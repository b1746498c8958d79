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
	Show   keysShow   `cmd:"" help:"Print the signing secrets: the deployment's and each app's, for callback_url, and each endpoint's."`
	Rotate keysRotate `cmd:"" help:"Give the deployment, or an app, new keys; the old ones also sign for a while."`
}

type keysShow struct {
	App  string `help:"Only what the callbacks of this app's tasks are signed with." placeholder:"NAME"`
	JSON bool   `help:"Print one JSON object per line."`
}

// Run prints what receivers need: the secret of v1, the public key of v1a.
func (k keysShow) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(s settings, d *database) error {
		keys, err := k.keys(ctx, s, d)
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

func (k keysShow) keys(ctx context.Context, s settings, d *database) ([]db.SigningKey, error) {
	if k.App != "" {
		return operate.VerificationKeysOf(ctx, d.Pool, s.keyring(), k.App)
	}
	return operate.VerificationKeys(ctx, d.Pool, s.keyring())
}

func ownerOf(key db.SigningKey) string {
	switch {
	case key.Endpoint != nil:
		return "endpoint " + strconv.FormatInt(*key.Endpoint, 10)
	case key.App != nil:
		return "callback_url of tasks of " + clean(*key.App)
	case key.Version == db.KeyV1a:
		return "all webhooks"
	}
	return "callback_url of tasks"
}

type keysRotate struct {
	App   string        `help:"Give this app a secret of its own for callback_url, or a new one; default: the deployment." placeholder:"NAME"`
	Grace time.Duration `default:"24h" help:"How long the old keys also sign."`
}

func (k keysRotate) Run(ctx context.Context, c *console) error {
	return rotate(ctx, c, db.KeyOwner{App: k.App}, k.Grace)
}

// rotate gives an owner new keys and prints them.
func rotate(ctx context.Context, c *console, owner db.KeyOwner, grace time.Duration) error {
	if grace < 0 {
		return fmt.Errorf("--grace must not be negative, it is %s", grace)
	}
	return withDatabase(ctx, c, func(s settings, d *database) error {
		keys, err := operate.RotateKeys(ctx, d.Pool, s.keyring(), owner, grace)
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
