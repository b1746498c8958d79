package main

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

type apiKeysCommand struct {
	Add    apiKeysAdd    `cmd:"" help:"Make a key, and print it once."`
	List   apiKeysList   `cmd:"" may:"klingwatch_reader or klingwatch_operator" help:"List the keys."`
	Revoke apiKeysRevoke `cmd:"" may:"klingwatch_operator" help:"Have a key refused from now on."`
}

type apiKeysAdd struct {
	Name    string         `arg:"" help:"A note: who has it."`
	Scope   string         `help:"read, write (acts as well) or admin (administers as well)." default:"read"`
	App     string         `help:"The key meets this app's tasks only; default: those of all apps." placeholder:"NAME"`
	Expires *time.Duration `help:"How long the key is valid; default: for ever." placeholder:"DURATION"`
}

// Run makes a key.
func (a apiKeysAdd) Run(ctx context.Context, c *console) error {
	var life time.Duration
	if a.Expires != nil {
		if life = *a.Expires; life <= 0 {
			return fmt.Errorf("--expires must be more than 0, not %s", life)
		}
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		key, text, err := operate.AddAPIKey(ctx, d.Pool, operate.NewAPIKey{Name: a.Name, Scope: a.Scope, App: a.App, Life: life})
		if err != nil {
			return err
		}
		fmt.Fprintln(c.out, text)
		c.remark(fmt.Sprintf("this is shown once: send it as \"Authorization: Bearer %s...\"; to have it refused: klingwatch api-keys revoke %s", text[:6], key.ID))
		return nil
	})
}

type apiKeysList struct {
	JSON bool `help:"Print one JSON object per line."`
}

// Run lists the keys.
func (l apiKeysList) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		keys, err := operate.ListAPIKeys(ctx, d.Pool)
		if err != nil {
			return err
		}
		if l.JSON {
			return printLines(c.out, keys)
		}
		var rows [][]string
		for _, key := range keys {
			rows = append(rows, []string{key.ID, clean(key.Name), key.Scope, clean(deref(key.App)), stateOf(key), when(&key.CreatedAt), when(key.LastUsedAt)})
		}
		c.printTable([]string{"ID", "NAME", "SCOPE", "APP", "STATE", "MADE", "LAST USED"}, rows)
		return nil
	})
}

// stateOf says until when a key is valid.
func stateOf(key db.APIKey) string {
	switch {
	case key.RevokedAt != nil:
		return "revoked " + when(key.RevokedAt)
	case key.ExpiresAt == nil:
		return "valid"
	case key.ExpiresAt.After(time.Now()):
		return "valid until " + when(key.ExpiresAt)
	}
	return "expired " + when(key.ExpiresAt)
}

type apiKeysRevoke struct {
	ID string `arg:"" help:"Its id, the 8 characters after kw_."`
}

// Run revokes a key.
func (r apiKeysRevoke) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := operate.RevokeAPIKey(ctx, d.Pool, r.ID); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "API key %s is refused from now on\n", r.ID)
		return nil
	})
}
