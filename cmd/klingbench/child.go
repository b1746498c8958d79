package main

import (
	"context"
	"fmt"

	"github.com/klingwatch/klingwatch/cmd/klingbench/callers"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/worker"
)

var roles = []process.Role{
	standin.RelayRole, standin.ProviderRole, standin.ReceiversRole, standin.FilesRole, callers.Role,
	contender.WorkerRole, contender.ServerRole, contender.NaiveRole, contender.PollerRole, contender.PosterRole, contender.CopierRole,
}

// childCommand is a process of a measurement; see package process.
type childCommand struct {
	Role string `arg:""`
}

// Run serves calls until the parent is done.
func (cmd childCommand) Run(ctx context.Context) error {
	worker.TuneGC() // as klingwatch serve does, and the same for those it is compared with
	for _, role := range roles {
		if role.Name == cmd.Role {
			return role.Serve(ctx)
		}
	}
	return fmt.Errorf("starting a process of a measurement: there is no role %q", cmd.Role)
}
