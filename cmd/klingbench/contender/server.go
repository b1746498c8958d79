package contender

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/feed"
	"github.com/klingwatch/klingwatch/web"
	"github.com/klingwatch/klingwatch/web/api"
	"github.com/klingwatch/klingwatch/web/pages"
)

// AnyPort is the address of a server that may choose its port.
const AnyPort = "127.0.0.1:0"

// ServerRole is the process of klingwatch's worker with the HTTP API and the pages beside it, as in
// klingwatch serve.
var ServerRole = process.Role{Name: "server", Service: func(ctx context.Context) any {
	return &serverService{workerService: workerService{ctx: ctx}}
}}

// serverService is a worker that can serve, too.
type serverService struct{ workerService }

// Serve begins to serve at an address and returns where; after Run. Keys have no limit
// of requests: the limit is not what is measured.
func (s *serverService) Serve(address string, at *string) error {
	var config net.ListenConfig
	listener, err := config.Listen(s.ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serving the API: %w", err)
	}
	events := feed.New(s.config.Pool, &s.config.Metrics.Feed, s.config.Log)
	served, err := api.New(api.Config{
		Pool: s.config.Pool, Feed: events, Webhooks: s.config.Webhooks, Log: s.config.Log, TaskDeadline: s.config.TaskDeadline,
		Metrics: &s.config.Metrics.Callbacks, PollInterval: s.config.PollInterval,
	})
	if err != nil {
		return err
	}
	shown := pages.New(pages.Config{
		Pool: s.config.Pool, Feed: events, Webhooks: s.config.Webhooks, Log: s.config.Log, TaskDeadline: s.config.TaskDeadline,
		PollInterval: s.config.PollInterval, PollRate: s.config.PollRate, Callers: served.Callers(),
	})
	noKeys := func(context.Context) ([]string, error) { return nil, nil }
	front := web.Front{Log: s.config.Log, Metrics: &s.config.Metrics.HTTP}
	server := &http.Server{
		Handler:           front.Wrap(web.Handler(nil, s.config.Metrics.Handler(), noKeys, served, shown)),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelWarn),
	}
	go events.Run(s.ctx)
	go served.Run(s.ctx)
	go func() {
		fmt.Fprintln(os.Stderr, "serving the API: it ended:", server.Serve(listener))
		os.Exit(1) // the parent notices
	}()
	*at = listener.Addr().String()
	return nil
}
