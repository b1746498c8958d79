package apis

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/callers"
	"github.com/klingwatch/klingwatch/cmd/klingbench/completions"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/metrics"
)

// stream is a feed with many followers, whose server is killed.
type stream struct {
	clients int
	rate    float64       // events per second
	window  time.Duration // in which latencies count; the server is killed after it
	after   time.Duration // for how long events go on then
}

const (
	// streamsPerKey is less than a key may keep open.
	streamsPerKey = 100
	// gatherLimit bounds the wait until all clients listen, or have got everything.
	gatherLimit = time.Minute
)

// total is the number of events.
func (t stream) total() int { return int(t.rate * (t.window + t.after).Seconds()) }

// watched is what was seen of a stream.
type watched struct {
	callers.Followed
	used   bench.Usage
	memory int64         // of the server with all clients, in bytes
	away   time.Duration // from the kill until all clients listen again
}

func (t stream) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	var seen watched
	err := b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := completions.Prepare(ctx, d, 1, t.total(), nil); err != nil {
			return err
		}
		return b.WithProcess(ctx, callers.Role, func(child *process.Child) error {
			return t.watch(ctx, b, d, &callers.Callers{Child: child}, &seen)
		})
	})
	if err != nil {
		return err
	}
	latencies := make([]float64, len(seen.Latencies))
	for i, ns := range seen.Latencies {
		latencies[i] = figures.Milliseconds(time.Duration(ns))
	}
	what := fmt.Sprintf("commit to %d followers, %v events/s", t.clients, t.rate)
	s.Add("stream_p50", what+", p50", "ms", figures.Percentile(latencies, 0.50), figures.AtMost(30))
	s.Add("stream_p99", what+", p99", "ms", figures.Percentile(latencies, 0.99), figures.AtMost(100))
	s.Add("stream_max", what+", the latest", "ms", figures.Percentile(latencies, 1), nil)
	s.Add("stream_lost", "events lost over kill -9, all followers", "", float64(seen.Lost), figures.AtMost(0))
	s.Add("stream_doubled", "events got twice", "", float64(seen.Doubled), figures.AtMost(0))
	s.Add("stream_returns", "reconnections", "", float64(seen.Returns), nil)
	s.Add("stream_away", "from kill -9 until all follow again", "s", seen.away.Seconds(), nil)
	s.Add("stream_memory", "memory of the server with all followers", "MiB", float64(seen.memory)/mib, nil)
	for _, one := range []struct {
		name, label string
		cpu         time.Duration
	}{{"server", "the server", seen.used.Client}, {"followers", "the followers", seen.used.Server}, {"postgres", "Postgres", seen.used.Postgres}} {
		s.Add("stream_"+one.name+"_cpu", "CPU meanwhile, of one core: "+one.label, "%", 100*figures.Ratio(one.cpu.Seconds(), seen.used.Elapsed.Seconds()), nil)
	}
	s.Add("stream_others", "CPU of other work meanwhile", "%", seen.used.Others(), nil)
	return nil
}

const mib = 1 << 20

// watch has all follow, ends tasks, and kills the server after a while; another one takes
// its place.
func (t stream) watch(ctx context.Context, b *bench.Bench, d *bench.Database, c *callers.Callers, seen *watched) error {
	keys, err := addKeys(ctx, d, t.clients/streamsPerKey+1)
	if err != nil {
		return err
	}
	var done []completions.Completion
	err = b.WithService(ctx, contender.ServerRole, func(server *contender.Service) error {
		address, err := start(ctx, b, d, server, contender.AnyPort)
		if err != nil {
			return err
		}
		if err := c.Follow(ctx, callers.FollowPlan{Place: callers.Place{Address: address, Keys: keys}, Clients: t.clients}); err != nil {
			return err
		}
		if err := t.gathered(ctx, address); err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() {
			var err error
			done, err = completions.Run(ctx, d.URL, 1, t.total(), time.Duration(float64(time.Second)/t.rate))
			ended <- err
		}()
		if seen.used, err = b.Spent(ctx, server.PID(), idle{c}, func() error { return t.pass(ctx, c) }); err != nil {
			return err
		}
		if seen.memory, err = process.ResidentMemory(server.PID()); err != nil {
			return err
		}
		server.Kill()
		killed := time.Now()
		return b.WithService(ctx, contender.ServerRole, func(next *contender.Service) error {
			if _, err := start(ctx, b, d, next, address); err != nil {
				return err
			}
			if err := t.gathered(ctx, address); err != nil {
				return err
			}
			seen.away = time.Since(killed)
			if err := <-ended; err != nil {
				return err
			}
			return t.join(ctx, d, c, done, seen)
		})
	})
	return err
}

// pass lets the window pass, which is longer where a busy machine has not even told of the
// first event by then.
func (t stream) pass(ctx context.Context, c *callers.Callers) error {
	if err := bench.Pause(ctx, t.window); err != nil {
		return err
	}
	return t.caughtUp(ctx, c, 1)
}

// caughtUp waits until all have got an event.
func (t stream) caughtUp(ctx context.Context, c *callers.Callers, event int64) error {
	behind := func(ctx context.Context) (int, error) { return c.Behind(ctx, event) }
	_, err := bench.Until(ctx, fmt.Sprintf("all followers have got the event %d", event), gatherLimit, behind, func(n int) bool { return n == 0 })
	return err
}

// gathered waits until all follow.
func (t stream) gathered(ctx context.Context, address string) error {
	_, err := bench.Until(ctx, fmt.Sprintf("%d clients follow", t.clients), gatherLimit, listeners(address, metrics.ListenerStream), func(n int) bool { return n == t.clients })
	return err
}

// idle is a process that answers no requests.
type idle struct{ *callers.Callers }

// Requests are none.
func (idle) Requests(context.Context) (int64, error) { return 0, nil }

// join compares what was told with what came.
func (t stream) join(ctx context.Context, d *bench.Database, c *callers.Callers, done []completions.Completion, seen *watched) error {
	events, err := completions.Events(ctx, d.Pool)
	if err != nil {
		return err
	}
	counted := int(t.rate * t.window.Seconds() * 0.95) // the last ones may be on their way when the server is killed
	told, last := make([]callers.Told, len(done)), int64(0)
	for i, one := range done {
		told[i] = callers.Told{
			ID: events[i+1].ID, Committing: one.Committing.UnixNano(), Committed: one.Committed.UnixNano(), Counts: i < counted,
		}
		last = max(last, told[i].ID)
	}
	if err := t.caughtUp(ctx, c, last); err != nil {
		return err
	}
	seen.Followed, err = c.Followed(ctx, told)
	return err
}
