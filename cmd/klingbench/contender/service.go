package contender

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// serviceConnections is what klingwatch serve opens.
const serviceConnections = 20

// ServicePlan is how a service is set up.
type ServicePlan struct {
	DatabaseURL   string
	Relay         standin.Address
	PollInterval  time.Duration
	PollRate      float64       // requests per second; naive River has no limit
	LogPolls      bool          // keep when each poll was due; klingwatch only
	Retention     time.Duration // of tasks and deliveries; 0: for ever; klingwatch only
	SweepInterval time.Duration // 0: the default of klingwatch; klingwatch only
	Archive       Archive       // where files are kept; klingwatch only
}

// Archive is where a service keeps files.
type Archive struct {
	Setting string // as KLINGWATCH_ARCHIVE; "": nowhere
	DataDir string // as KLINGWATCH_DATA_DIR
	Bare    bool   // as where ffmpeg is not installed
}

// Poll is one request of the worker, in unix nanoseconds.
type Poll struct {
	Task       int64
	Due, Begun int64
}

// Service is a process that processes tasks, seen from the parent: WorkerRole,
// ServerRole or NaiveRole.
type Service struct{ *process.Child }

// Run starts the service and returns when it works.
func (s *Service) Run(ctx context.Context, plan ServicePlan) error { return s.Do(ctx, "Run", plan) }

// Serve has the API served at an address, and returns host and port; ServerRole only,
// after Run.
func (s *Service) Serve(ctx context.Context, address string) (at string, err error) {
	err = s.Call(ctx, "Serve", address, &at)
	return at, err
}

// Memory returns the memory of the process; klingwatch only.
func (s *Service) Memory(ctx context.Context) (process.Memory, error) {
	return process.Ask[process.Memory](ctx, s.Child, "Memory")
}

// Polls returns all polls so far, if the plan asked for their log; klingwatch only.
func (s *Service) Polls(ctx context.Context) ([]Poll, error) {
	return process.Ask[[]Poll](ctx, s.Child, "Polls")
}
