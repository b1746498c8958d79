package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

type simCommand struct {
	Listen    string        `help:"Address to listen on; port 0 picks a free one." default:"127.0.0.1:8090"`
	Key       string        `help:"Bearer key to accept; default: any." placeholder:"KEY"`
	PublicURL string        `help:"Scheme and host of output URLs; default: those of the request." placeholder:"URL"`
	Seed      uint64        `help:"Seed of lifetimes and faults; default: random, and printed." placeholder:"N"`
	Lifetime  time.Duration `help:"Median time until a task ends." default:"20s"`
	Latency   time.Duration `help:"Upper bound of the random latency." default:"100ms"`
	FaultRate float64       `help:"Share of answers that are small random faults, from 0 to 1." default:"0.05"`
}

// Help lists what a task id can ask for.
func (simCommand) Help() string {
	var b strings.Builder
	b.WriteString("A task begins with the first request about it. Words at the start of its id, separated by -, choose what happens to it (fail-newapi-0042); without such words it succeeds:\n\n")
	for _, word := range klingsim.Vocabulary() {
		fmt.Fprintf(&b, "  %-14s %s\n", word.Text, word.Meaning)
	}
	return b.String()
}

func (s simCommand) Run(ctx context.Context, c *console) error {
	if s.FaultRate < 0 || s.FaultRate > 1 {
		return fmt.Errorf("--fault-rate is a share from 0 to 1, not %v", s.FaultRate)
	}
	relay := klingsim.New(klingsim.Config{
		Seed: s.Seed, APIKey: s.Key, PublicURL: s.PublicURL, Lifetime: s.Lifetime, Latency: s.Latency, FaultRate: s.FaultRate,
	})
	listener, err := listen(ctx, "--listen", s.Listen)
	if err != nil {
		return err
	}
	base := "http://" + listener.Addr().String()
	fmt.Fprintf(c.out, "simulated relay at %s, seed %d\ntry: curl -H 'Authorization: Bearer any' %s/kling/v1/videos/text2video/ok-1\n", base, relay.Seed(), base)
	server := &http.Server{Handler: relay, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
