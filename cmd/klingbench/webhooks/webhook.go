package webhooks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// WebhookCommand measures the delivery of webhooks.
type WebhookCommand struct {
	bench.Options
	Only       []string `placeholder:"PART" help:"Parts to measure: stream, flood, crash, crowd, trickle; default: all."`
	Runs       int      `placeholder:"N" help:"Runs, whose median counts; default: 3, with --quick 1."`
	Deliveries int      `placeholder:"N" help:"Deliveries of the saturated measurement; default: 20000, with --quick 1000."`
	Silent     int      `default:"1" help:"Receivers that never answer, in addition to the healthy ones."`
	Goroutines int      `default:"100" help:"Goroutines that post when the webhook client is measured alone."`
}

// Run measures.
func (cmd WebhookCommand) Run(ctx context.Context, c *figures.Console) error {
	return cmd.MeasureParts(ctx, c, "webhook", cmd.plan().parts(), cmd.Only)
}

// webhookPlan is the size of everything that webhook does.
type webhookPlan struct {
	runs       int
	stream     stream
	flood      flood
	goroutines int
	limitTime  time.Duration // of the webhook client alone
	silent     int           // silent receivers beside the healthy ones of the stream
	crashes    []crash
	crowds     []crowd
	trickle    trickle
}

func (cmd WebhookCommand) plan() webhookPlan {
	p := webhookPlan{
		runs: 3, goroutines: cmd.Goroutines, silent: cmd.Silent, limitTime: 4 * time.Second,
		stream:  stream{places: 10, rate: 200, window: 20 * time.Second},
		flood:   flood{places: 20, deliveries: 20_000},
		crashes: []crash{{places: 20, deliveries: 2_000}, {places: 20, deliveries: 2_000, other: true}},
		crowds:  []crowd{{name: "crowd_few", trouble: 24, healthy: 40}, {name: "crowd", trouble: 1_000, healthy: 40}},
		trickle: trickle{places: 2_000, each: 5, window: 25 * time.Second},
	}
	if cmd.Quick {
		p.runs, p.limitTime, p.flood.deliveries = 1, bench.Settle, 1_000
		p.stream.window = bench.Settle
		p.crashes[0].deliveries, p.crashes[1].deliveries = 400, 400
		p.crowds[0].healthy, p.crowds[1].healthy, p.crowds[1].trouble = 10, 10, 50
		p.trickle = trickle{places: 50, each: 2, window: bench.Settle}
	}
	if cmd.Runs > 0 {
		p.runs = cmd.Runs
	}
	if cmd.Deliveries > 0 {
		p.flood.deliveries = cmd.Deliveries
	}
	return p
}

// parts are what can be measured alone.
func (p webhookPlan) parts() []bench.Part {
	return []bench.Part{
		{Name: "stream", Runs: p.runs, Measure: p.measureStreams},
		{Name: "flood", Runs: p.runs, Measure: p.measureFlood},
		{Name: "crash", Runs: p.runs, Measure: p.measureCrashes},
		{Name: "crowd", Runs: p.runs, Measure: p.measureCrowds},
		{Name: "trickle", Runs: p.runs, Measure: p.measureTrickle},
	}
}

// measureStreams measures the delay of healthy receivers alone, and beside others
// in trouble.
func (p webhookPlan) measureStreams(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	alone, err := p.stream.measure(ctx, b)
	if err != nil {
		return err
	}
	troubled := p.stream
	troubled.trouble = append(slices.Repeat([]string{standin.Silent}, max(p.silent, 0)), standin.Failing)
	beside, err := troubled.measure(ctx, b)
	if err != nil {
		return err
	}
	p99, others := alone.percentile(0.99), fmt.Sprintf("%d silent and 1 failing", p.silent)
	s.Add("completions_per_second", fmt.Sprintf("completions, %d receivers", p.stream.places), "/s", alone.completed, nil)
	s.Add("webhook_latency_p50", "commit to first byte at the receiver, p50", "ms", alone.percentile(0.50), figures.AtMost(30))
	s.Add("webhook_latency_p99", "commit to first byte at the receiver, p99", "ms", p99, figures.AtMost(150))
	s.Add("webhook_latency_max", "commit to first byte at the receiver, the latest", "ms", alone.percentile(1), nil)
	s.Add("webhook_latency_others", "CPU of other work meanwhile", "%", alone.Others(), nil)
	s.Add("isolation_p50", "beside "+others+", p50", "ms", beside.percentile(0.50), nil)
	s.Add("isolation_p99", "beside "+others+", p99", "ms", beside.percentile(0.99), nil)
	s.Add("isolation", "p99 beside "+others+" : alone", "", figures.Ratio(beside.percentile(0.99), p99), figures.AtMost(1.5))
	s.Add("isolation_trouble", "requests to the receivers in trouble", "", beside.Requests-float64(len(beside.latencies)), nil)
	s.Add("isolation_others", "CPU of other work meanwhile", "%", beside.Others(), nil)
	return nil
}

// measureFlood compares klingwatch with its webhook client alone.
func (p webhookPlan) measureFlood(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	bare, err := measureLimit(ctx, b, p.flood.places, p.goroutines, p.limitTime)
	if err != nil {
		return err
	}
	ours, err := p.flood.measure(ctx, b)
	if err != nil {
		return err
	}
	s.Add("bare_deliveries_per_second", "the webhook client alone", "/s", bare.Rate(), nil)
	s.Add("deliveries_per_second", fmt.Sprintf("klingwatch, %d deliveries, attempts written", p.flood.deliveries), "/s", ours.Rate(), nil)
	s.Add("part_of_bare", "klingwatch : webhook client alone", "", figures.Ratio(ours.Rate(), bare.Rate()), figures.AtLeast(0.25))
	s.Add("attempts_per_delivery", "  attempts per delivery", "", float64(ours.attempts)/ours.Requests, figures.AtMost(1))
	s.Add("wal_per_delivery", "WAL per delivery", "B", ours.WALPerRequest(), nil)
	for _, c := range []struct {
		name, label string
		bench.Usage
	}{{"bare", "webhook client alone", bare}, {"klingwatch", "klingwatch", ours.Usage}} {
		s.Add(c.name+"_cpu_per_delivery", "CPU per delivery, "+c.label+": client", "us", c.PerRequest(c.Client), nil)
		s.Add(c.name+"_postgres_cpu_per_delivery", "CPU per delivery, "+c.label+": Postgres", "us", c.PerRequest(c.Postgres), nil)
		s.Add(c.name+"_receiver_cpu_per_delivery", "CPU per delivery, "+c.label+": receivers", "us", c.PerRequest(c.Server), nil)
		s.Add(c.name+"_delivery_others", "CPU of other work meanwhile, "+c.label, "%", c.Others(), nil)
	}
	return nil
}

// measureCrashes measures what a kill -9 in the middle of deliveries does to them.
func (p webhookPlan) measureCrashes(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	for _, c := range p.crashes {
		seen, err := c.measure(ctx, b)
		if err != nil {
			return err
		}
		name := "restarted"
		if c.other {
			name = "taken_over"
		}
		s.Add(name+"_lost", c.String()+": lost", "", float64(seen.lost), figures.AtMost(0))
		s.Add(name+"_twice", "  sent twice", "%", 100*figures.Ratio(float64(seen.twice), float64(c.deliveries)), figures.AtMost(2))
		s.Add(name+"_last", "  from the kill to the last", "s", seen.last.Seconds(), figures.AtMost(5))
	}
	return nil
}

// measureCrowds measures how soon healthy paths of a host get what is theirs beside others
// in trouble.
func (p webhookPlan) measureCrowds(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	for _, c := range p.crowds {
		latencies, err := c.measure(ctx, b)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%d healthy paths behind %d in trouble on one host", c.healthy, c.trouble)
		s.Add(c.name+"_p50", what+", p50", "ms", figures.Percentile(latencies, 0.5), nil)
		s.Add(c.name+"_p99", what+", p99", "ms", figures.Percentile(latencies, 0.99), nil)
		s.Add(c.name+"_max", what+", the latest", "ms", figures.Percentile(latencies, 1), figures.AtMost(5000))
	}
	return nil
}

// measureTrickle measures the memory that slow receivers cost.
func (p webhookPlan) measureTrickle(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	seen, err := p.trickle.measure(ctx, b)
	if err != nil {
		return err
	}
	const mib, kib = 1 << 20, 1 << 10
	above := float64(seen.peak - seen.idle)
	s.Add("drip_idle", "memory of the idle process", "MiB", float64(seen.idle)/mib, nil)
	s.Add("drip_memory", fmt.Sprintf("memory above it while %d receivers drip, peak", p.trickle.places), "MiB", above/mib, nil)
	s.Add("drip_memory_per_receiver", "  per receiver", "KiB", figures.Ratio(above/kib, float64(p.trickle.places)), nil)
	s.Add("drip_in_flight", "  open requests, most", "", float64(seen.open), nil)
	return nil
}
