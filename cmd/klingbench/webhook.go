package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// webhookCommand measures the delivery of webhooks.
type webhookCommand struct {
	options
	Runs       int `placeholder:"N" help:"Runs, whose median counts; default: 3, with --quick 1."`
	Deliveries int `placeholder:"N" help:"Deliveries of the saturated measurement; default: 20000, with --quick 1000."`
	Silent     int `default:"1" help:"Receivers that never answer, beside the healthy ones."`
	Goroutines int `default:"100" help:"Goroutines that post when the webhook client is measured alone."`
}

// Run measures.
func (cmd webhookCommand) Run(ctx context.Context, c *figures.Console) error {
	return cmd.options.run(ctx, c, "webhook", cmd.plan().measure)
}

// webhookPlan is the size of everything that webhook does.
type webhookPlan struct {
	runs       int
	stream     stream
	flood      flood
	goroutines int
	limitTime  time.Duration // of the webhook client alone
	silent     int           // receivers beside the healthy ones of the stream
	trickle    trickle
}

func (cmd webhookCommand) plan() webhookPlan {
	p := webhookPlan{
		runs: 3, goroutines: cmd.Goroutines, silent: cmd.Silent, limitTime: 4 * time.Second,
		stream:  stream{places: 10, rate: 200, window: 20 * time.Second},
		flood:   flood{places: 20, deliveries: 20_000},
		trickle: trickle{places: 1_000, each: 10, window: 25 * time.Second},
	}
	if cmd.Quick {
		p.runs, p.limitTime, p.flood.deliveries = 1, settle, 1_000
		p.stream.window = settle
		p.trickle = trickle{places: 50, each: 2, window: settle}
	}
	if cmd.Runs > 0 {
		p.runs = cmd.Runs
	}
	if cmd.Deliveries > 0 {
		p.flood.deliveries = cmd.Deliveries
	}
	return p
}

func (p webhookPlan) measure(ctx context.Context, b *bench) ([]figures.Figure, error) {
	s := figures.NewSeries(figures.Median)
	for run := range p.runs {
		for _, part := range []struct {
			name    string
			measure func(context.Context, *bench, *figures.Series) error
		}{
			{"from commit to receiver", p.measureStreams},
			{"as many as possible", p.measureFlood},
			{"receivers that drip", p.measureTrickle},
		} {
			b.progress.Sayf("run %d of %d: %s", run+1, p.runs, part.name)
			if err := part.measure(ctx, b, s); err != nil {
				return nil, err
			}
		}
	}
	return s.Result(), nil
}

// measureStreams measures the delay of healthy receivers alone, and beside some
// in trouble.
func (p webhookPlan) measureStreams(ctx context.Context, b *bench, s *figures.Series) error {
	alone, err := b.stream(ctx, p.stream)
	if err != nil {
		return err
	}
	troubled := p.stream
	troubled.trouble = append(slices.Repeat([]string{silent}, max(p.silent, 0)), failing)
	beside, err := b.stream(ctx, troubled)
	if err != nil {
		return err
	}
	p99, others := alone.percentile(0.99), fmt.Sprintf("%d silent and 1 failing", p.silent)
	s.Add("completions_per_second", "completions, "+figures.Number(float64(p.stream.places))+" receivers", "/s", alone.completed, nil)
	s.Add("webhook_latency_p50", "commit to first byte at the receiver, p50", "ms", alone.percentile(0.50), figures.AtMost(30))
	s.Add("webhook_latency_p99", "commit to first byte at the receiver, p99", "ms", p99, figures.AtMost(150))
	s.Add("webhook_latency_max", "commit to first byte at the receiver, the latest", "ms", alone.percentile(1), nil)
	s.Add("webhook_latency_others", "CPU of other work meanwhile", "%", alone.others(), nil)
	s.Add("isolation_p50", "beside "+others+", p50", "ms", beside.percentile(0.50), nil)
	s.Add("isolation_p99", "beside "+others+", p99", "ms", beside.percentile(0.99), nil)
	s.Add("isolation", "p99 beside "+others+" : alone", "", figures.Ratio(beside.percentile(0.99), p99), figures.AtMost(1.5))
	s.Add("isolation_trouble", "requests to these", "", beside.requests-float64(len(beside.latencies)), nil)
	s.Add("isolation_others", "CPU of other work meanwhile", "%", beside.others(), nil)
	return nil
}

// measureFlood compares klingwatch with its webhook client alone.
func (p webhookPlan) measureFlood(ctx context.Context, b *bench, s *figures.Series) error {
	bare, err := b.measurePosts(ctx, p.flood.places, p.goroutines, p.limitTime)
	if err != nil {
		return err
	}
	ours, err := b.flood(ctx, p.flood)
	if err != nil {
		return err
	}
	s.Add("bare_deliveries_per_second", "the webhook client alone", "/s", bare.rate(), nil)
	s.Add("deliveries_per_second", "klingwatch, "+figures.Number(float64(p.flood.deliveries))+" deliveries, attempts written", "/s", ours.rate(), nil)
	s.Add("part_of_bare", "klingwatch : webhook client alone", "", figures.Ratio(ours.rate(), bare.rate()), figures.AtLeast(0.25))
	s.Add("attempts_per_delivery", "  attempts per delivery", "", float64(ours.attempts)/ours.requests, figures.AtMost(1))
	s.Add("wal_per_delivery", "WAL per delivery", "B", ours.walPerRequest(), nil)
	for _, c := range []struct {
		name, label string
		usage
	}{{"bare", "webhook client alone", bare}, {"klingwatch", "klingwatch", ours.usage}} {
		s.Add(c.name+"_cpu_per_delivery", "CPU per delivery, "+c.label+": client", "us", c.cpuPerRequest(c.client), nil)
		s.Add(c.name+"_postgres_cpu_per_delivery", "CPU per delivery, "+c.label+": Postgres", "us", c.cpuPerRequest(c.postgres), nil)
		s.Add(c.name+"_receiver_cpu_per_delivery", "CPU per delivery, "+c.label+": receivers", "us", c.cpuPerRequest(c.server), nil)
		s.Add(c.name+"_delivery_others", "CPU of other work meanwhile, "+c.label, "%", c.others(), nil)
	}
	return nil
}

// measureTrickle measures the memory that slow receivers take.
func (p webhookPlan) measureTrickle(ctx context.Context, b *bench, s *figures.Series) error {
	seen, err := b.trickle(ctx, p.trickle)
	if err != nil {
		return err
	}
	const mib, kib = 1 << 20, 1 << 10
	places := figures.Number(float64(p.trickle.places))
	above := float64(seen.peak - seen.idle)
	s.Add("drip_idle", "memory of the idle process", "MiB", float64(seen.idle)/mib, nil)
	s.Add("drip_memory", "memory above it while "+places+" receivers drip, peak", "MiB", above/mib, nil)
	s.Add("drip_memory_per_receiver", "  per receiver", "KiB", figures.Ratio(above/kib, float64(p.trickle.places)), nil)
	s.Add("drip_in_flight", "  requests on their way, most", "", float64(seen.inFlight), nil)
	return nil
}
