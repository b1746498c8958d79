package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

type keysCommand struct {
	Show keysShow `cmd:"" help:"Print the signing secrets: the deployment's (for callback_url) and each endpoint's."`
}

type keysShow struct {
	JSON bool `help:"One JSON object per line."`
}

func (k keysShow) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := db.EnsureDeploymentKey(ctx, d.Pool, webhook.NewSecret()); err != nil {
			return fmt.Errorf("preparing the signing key: %w", err)
		}
		keys, err := db.SigningKeys(ctx, d.Pool)
		if err != nil {
			return fmt.Errorf("reading the signing keys: %w", err)
		}
		var rows [][]string
		for _, key := range keys {
			if k.JSON {
				if err := printJSON(c.out, key); err != nil {
					return err
				}
				continue
			}
			owner := "callback_url of tasks"
			if key.Endpoint != nil {
				owner = "endpoint " + strconv.FormatInt(*key.Endpoint, 10)
			}
			rows = append(rows, []string{owner, key.Secret, deref(key.URL)})
		}
		if !k.JSON {
			c.printTable([]string{"SIGNS", "SECRET", "URL"}, rows)
		}
		return nil
	})
}
