package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/klingwatch/klingwatch/migrations"
)

type migrateCommand struct {
	Check bool `help:"Change nothing; exit code 1 when migrations are pending."`
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
	return nil
}
