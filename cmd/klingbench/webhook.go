package main

import (
	"context"
	"fmt"
	"slices"
	"time"
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
func (cmd webhookCommand) Run(ctx context.Context, c *console) error {
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

func (p webhookPlan) measure(ctx context.Context, b *bench) ([]figure, error) {
	s := newSeries(median)
	for run := range p.runs {
		for _, part := range []struct {
			name    string
			measure func(context.Context, *bench, *series) error
		}{
			{"from commit to receiver", p.measureStreams},
			{"as many as possible", p.measureFlood},
			{"receivers that drip", p.measureTrickle},
		} {
			b.progress.sayf("run %d of %d: %s", run+1, p.runs, part.name)
			if err := part.measure(ctx, b, s); err != nil {
				return nil, err
			}
		}
	}
	return s.result(), nil
}

// measureStreams measures the delay of healthy receivers alone, and beside some
// in trouble.
func (p webhookPlan) measureStreams(ctx context.Context, b *bench, s *series) error {
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
	s.add("completions_per_second", "completions, "+number(float64(p.stream.places))+" receivers", "/s", alone.completed, nil)
	s.add("webhook_latency_p50", "commit to first byte at the receiver, p50", "ms", alone.percentile(0.50), atMost(30))
	s.add("webhook_latency_p99", "commit to first byte at the receiver, p99", "ms", p99, atMost(150))
	s.add("webhook_latency_max", "commit to first byte at the receiver, the latest", "ms", alone.percentile(1), nil)
	s.add("webhook_latency_others", "CPU of other work meanwhile", "%", alone.others(), nil)
	s.add("isolation_p50", "beside "+others+", p50", "ms", beside.percentile(0.50), nil)
	s.add("isolation_p99", "beside "+others+", p99", "ms", beside.percentile(0.99), nil)
	s.add("isolation", "p99 beside "+others+" : alone", "", ratio(beside.percentile(0.99), p99), atMost(1.5))
	s.add("isolation_trouble", "requests to these", "", beside.requests-float64(len(beside.latencies)), nil)
	s.add("isolation_others", "CPU of other work meanwhile", "%", beside.others(), nil)
	return nil
}

// measureFlood compares klingwatch with its webhook client alone.
func (p webhookPlan) measureFlood(ctx context.Context, b *bench, s *series) error {
	bare, err := b.measurePosts(ctx, p.flood.places, p.goroutines, p.limitTime)
	if err != nil {
		return err
	}
	ours, err := b.flood(ctx, p.flood)
	if err != nil {
		return err
	}
	s.add("bare_deliveries_per_second", "the webhook client alone", "/s", bare.rate(), nil)
	s.add("deliveries_per_second", "klingwatch, "+number(float64(p.flood.deliveries))+" deliveries, attempts written", "/s", ours.rate(), nil)
	s.add("part_of_bare", "klingwatch : webhook client alone", "", ratio(ours.rate(), bare.rate()), atLeast(0.25))
	s.add("attempts_per_delivery", "  attempts per delivery", "", float64(ours.attempts)/ours.requests, atMost(1))
	s.add("wal_per_delivery", "WAL per delivery", "B", ours.walPerRequest(), nil)
	for _, c := range []struct {
		name, label string
		usage
	}{{"bare", "webhook client alone", bare}, {"klingwatch", "klingwatch", ours.usage}} {
		s.add(c.name+"_cpu_per_delivery", "CPU per delivery, "+c.label+": client", "us", c.cpuPerRequest(c.client), nil)
		s.add(c.name+"_postgres_cpu_per_delivery", "CPU per delivery, "+c.label+": Postgres", "us", c.cpuPerRequest(c.postgres), nil)
		s.add(c.name+"_receiver_cpu_per_delivery", "CPU per delivery, "+c.label+": receivers", "us", c.cpuPerRequest(c.server), nil)
		s.add(c.name+"_delivery_others", "CPU of other work meanwhile, "+c.label, "%", c.others(), nil)
	}
	return nil
}

// measureTrickle measures the memory that slow receivers take.
func (p webhookPlan) measureTrickle(ctx context.Context, b *bench, s *series) error {
	seen, err := b.trickle(ctx, p.trickle)
	if err != nil {
		return err
	}
	const mib, kib = 1 << 20, 1 << 10
	places := number(float64(p.trickle.places))
	above := float64(seen.peak - seen.idle)
	s.add("drip_idle", "memory of the idle process", "MiB", float64(seen.idle)/mib, nil)
	s.add("drip_memory", "memory above it while "+places+" receivers drip, peak", "MiB", above/mib, nil)
	s.add("drip_memory_per_receiver", "  per receiver", "KiB", ratio(above/kib, float64(p.trickle.places)), nil)
	s.add("drip_in_flight", "  requests on their way, most", "", float64(seen.inFlight), nil)
	return nil
}
