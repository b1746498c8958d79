package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/klingapi/callback"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

type simCommand struct {
	Listen         string        `help:"Address to listen on; port 0 picks a free one." default:"127.0.0.1:8090"`
	Dialect        string        `help:"How the relay writes: kling (Kling's old API), new-api, v3 (Kling's new family, with lists of tasks) or flat (one URL)." enum:"kling,new-api,v3,flat" default:"kling"`
	MaxBatch       int           `help:"Most ids in one request (v3); 1: two are refused." default:"20"`
	Key            string        `help:"Bearer key to accept; default: any." placeholder:"KEY"`
	PublicURL      string        `help:"Scheme and host of output URLs; default: those of the request." placeholder:"URL"`
	Seed           uint64        `help:"Seed of lifetimes and faults; default: random, and printed." placeholder:"N"`
	Lifetime       time.Duration `help:"Median time until a task ends." default:"20s"`
	FileLife       time.Duration `help:"How long files are served after the end of their task." default:"720h"`
	Latency        time.Duration `help:"Upper bound of the random latency." default:"100ms"`
	FaultRate      float64       `help:"Share of answers that are small random faults, and of tasks whose callbacks are late, early or double, from 0 to 1." default:"0.05"`
	Callback       string        `help:"Where every change of a task's status is posted, as Kling does; default: only where the POST of a task has a callback_url." placeholder:"URL"`
	CallbackSecret string        `help:"Secret that signs callbacks: whsec_ and base64; default: they are not signed." placeholder:"SECRET"`
}

// Help lists what a task id can ask for.
func (simCommand) Help() string {
	words := klingsim.Vocabulary()
	width := 0
	for _, word := range words {
		width = max(width, len(word.Text))
	}
	var b strings.Builder
	b.WriteString("A task begins with the first request about it. Words at the start of its id, separated by -, choose what happens to it (fail-newapi-0042); without such words it succeeds:\n\n")
	for _, word := range words {
		fmt.Fprintf(&b, "  %-*s %s\n", width, word.Text, word.Meaning)
	}
	return b.String()
}

func (s simCommand) Run(ctx context.Context, c *console) error {
	if s.FaultRate < 0 || s.FaultRate > 1 {
		return fmt.Errorf("--fault-rate is a share from 0 to 1, not %v", s.FaultRate)
	}
	if s.MaxBatch < 1 {
		return fmt.Errorf("--max-batch is 1 or more, not %d", s.MaxBatch)
	}
	if s.Lifetime <= 0 || s.FileLife <= 0 || s.Latency < 0 {
		return fmt.Errorf("--lifetime and --file-life must be more than 0 and --latency not negative, not %s, %s and %s", s.Lifetime, s.FileLife, s.Latency)
	}
	if s.CallbackSecret != "" {
		if err := callback.CheckSecret(s.CallbackSecret); err != nil {
			return fmt.Errorf("--callback-secret: %w", err)
		}
	}
	relay := klingsim.New(klingsim.Config{
		Seed: s.Seed, APIKey: s.Key, PublicURL: s.PublicURL, Lifetime: s.Lifetime, FileLife: s.FileLife, Latency: s.Latency, FaultRate: s.FaultRate,
		Dialect: klingsim.Dialect(s.Dialect), MaxBatch: s.MaxBatch, CallbackURL: s.Callback, CallbackSecret: s.CallbackSecret,
	})
	listener, err := listen(ctx, "--listen", s.Listen)
	if err != nil {
		return err
	}
	base := "http://" + listener.Addr().String()
	fmt.Fprintf(c.out, "simulated relay at %s, dialect %s, seed %d\ntry: curl -H 'Authorization: Bearer %s' '%s%s'\n",
		base, s.Dialect, relay.Seed(), cmp.Or(s.Key, "any"), base, relay.Example())
	server := &http.Server{Handler: relay, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
