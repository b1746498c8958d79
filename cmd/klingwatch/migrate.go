package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/migrations"
)

type migrateCommand struct {
	Check bool `help:"Change nothing; exit code 1 if migrations are pending."`
}

func (m migrateCommand) Run(ctx context.Context, c *console) (err error) {
	s, err := loadSettings()
	if err != nil {
		return err
	}
	// the embedded database is migrated by opening it
	d, err := openDatabase(ctx, s, toolConns, c.notify)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if m.Check {
		if err := requireSchema(ctx, d.Pool); err != nil {
			return err
		}
		fmt.Fprintln(c.out, "up to date")
		return nil
	}
	applied, err := migrations.Up(ctx, d.Pool)
	if err != nil {
		return err
	}
	if len(applied) == 0 {
		fmt.Fprintln(c.out, "up to date")
	}
	for _, step := range applied {
		fmt.Fprintln(c.out, "applied", step.Name)
	}
	missing, err := db.MissingRoles(ctx, d.Pool)
	if err != nil {
		return fmt.Errorf("looking for the roles: %w", err)
	}
	if len(missing) > 0 {
		fmt.Fprintf(c.err, "missing: role %s, which this user may not create; create it and run: select klingwatch.grant_roles()\n", strings.Join(missing, " and role "))
	}
	return nil
}
