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
	Runs       int `placeholder:"N" help:"Runs, whose median counts; default: 3, with --quick 1."`
	Deliveries int `placeholder:"N" help:"Deliveries of the saturated measurement; default: 20000, with --quick 1000."`
	Silent     int `default:"1" help:"Receivers that never answer, in addition to the healthy ones."`
	Goroutines int `default:"100" help:"Goroutines that post when the webhook client is measured alone."`
}

// Run measures.
func (cmd WebhookCommand) Run(ctx context.Context, c *figures.Console) error {
	return cmd.Measure(ctx, c, "webhook", cmd.plan().measure)
}

// webhookPlan is the size of everything that webhook does.
type webhookPlan struct {
	runs       int
	stream     stream
	flood      flood
	goroutines int
	limitTime  time.Duration // of the webhook client alone
	silent     int           // silent receivers beside the healthy ones of the stream
	crowd      crowd
	trickle    trickle
}

func (cmd WebhookCommand) plan() webhookPlan {
	p := webhookPlan{
		runs: 3, goroutines: cmd.Goroutines, silent: cmd.Silent, limitTime: 4 * time.Second,
		stream:  stream{places: 10, rate: 200, window: 20 * time.Second},
		flood:   flood{places: 20, deliveries: 20_000},
		crowd:   crowd{trouble: 1_000, healthy: 40},
		trickle: trickle{places: 2_000, each: 5, window: 25 * time.Second},
	}
	if cmd.Quick {
		p.runs, p.limitTime, p.flood.deliveries = 1, bench.Settle, 1_000
		p.stream.window = bench.Settle
		p.crowd = crowd{trouble: 50, healthy: 10}
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

func (p webhookPlan) measure(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
	s := figures.NewSeries(figures.Median)
	for run := range p.runs {
		for _, part := range []struct {
			name    string
			measure func(context.Context, *bench.Bench, *figures.Series) error
		}{
			{"from commit to receiver", p.measureStreams},
			{"as many as possible", p.measureFlood},
			{"paths of one host", p.measureCrowd},
			{"receivers that drip", p.measureTrickle},
		} {
			b.Progress.Sayf("run %d of %d: %s", run+1, p.runs, part.name)
			if err := part.measure(ctx, b, s); err != nil {
				return nil, err
			}
		}
	}
	return s.Result(), nil
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

// measureCrowd measures how soon healthy paths of a host get what is theirs beside others
// in trouble.
func (p webhookPlan) measureCrowd(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	latencies, err := p.crowd.measure(ctx, b)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d healthy paths behind %d in trouble on one host", p.crowd.healthy, p.crowd.trouble)
	s.Add("crowd_p50", what+", p50", "ms", figures.Percentile(latencies, 0.5), nil)
	s.Add("crowd_max", what+", the latest", "ms", figures.Percentile(latencies, 1), figures.AtMost(5000))
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
