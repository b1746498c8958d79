package polls

import (
	"context"
	"fmt"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// door is a way to the relay on which the contenders are compared.
type door struct {
	name  string // begins the names of its figures
	label string
	at    standin.Address
	// what klingwatch should reach of the HTTP client alone, with few and with more polls per task
	part, partLonger *figures.Target
}

// doors are the way that costs least, which shows most of what klingwatch adds, and then the
// way of real relays.
func doors(relay *standin.Relay) []door {
	return []door{
		{"", "plain HTTP/1.1", relay.Plain, nil, nil},
		{"tls_", "TLS and HTTP/2", relay.Secure, figures.AtLeast(0.60), figures.AtLeast(0.75)},
	}
}

// compared is what was seen through one door.
type compared struct{ limit, ours, longer asked }

// compare measures the contenders once, klingwatch with few and with more polls per task.
func (p pollPlan) compare(ctx context.Context, b *bench.Bench, run int, s *figures.Series) error {
	ways := doors(b.Relay)
	seen := make([]compared, len(ways))
	for i, d := range ways {
		var err error
		if seen[i], err = p.compareAt(ctx, b, run, d); err != nil {
			return err
		}
		p.addParts(s, d, seen[i])
	}
	plain := seen[0]
	b.Progress.Sayf("run %d of %d: naive River", run, p.runs)
	naive, err := workload{naiveRiver, b.Relay.Plain, p.tasks, p.polls}.saturate(ctx, b)
	if err != nil {
		return err
	}
	s.Add("naive_polls_per_second", "naive River, plain HTTP/1.1", "polls/s", naive.Rate(), nil)
	s.Add("times_naive", "klingwatch : naive River, plain HTTP/1.1", "", figures.Ratio(plain.ours.Rate(), naive.Rate()), figures.AtLeast(2))
	s.Add("wal_per_poll", fmt.Sprintf("WAL per poll, %d polls per task", p.polls), "B", plain.ours.WALPerRequest(), figures.AtMost(600))
	s.Add("wal_per_poll_longer", fmt.Sprintf("WAL per poll, %d polls per task", p.morePolls), "B", plain.longer.WALPerRequest(), figures.AtMost(160))
	s.Add("naive_wal_per_poll", "WAL per poll, naive River", "B", naive.WALPerRequest(), nil)
	s.Add("postgres_cpu_per_task", fmt.Sprintf("CPU per task, %d polls, two events, an output: Postgres", p.polls), "us",
		figures.Microseconds(plain.ours.Postgres)/float64(p.tasks), figures.AtMost(140))
	for i, d := range ways {
		addCPU(s, d.name+"http", "HTTP limit, "+d.label, seen[i].limit)
		addCPU(s, d.name+"klingwatch", "klingwatch, "+d.label, seen[i].ours)
	}
	addCPU(s, "naive", "naive River", naive)
	s.Add("cpu_to_naive", "CPU per poll of all processes, klingwatch : naive River", "", figures.Ratio(plain.ours.cpuPerPoll(), naive.cpuPerPoll()), nil)
	return nil
}

// compareAt measures the HTTP client alone and klingwatch through one door.
func (p pollPlan) compareAt(ctx context.Context, b *bench.Bench, run int, d door) (seen compared, err error) {
	b.Progress.Sayf("run %d of %d, %s: the HTTP client alone", run, p.runs, d.label)
	if seen.limit, err = p.measureLimit(ctx, b, d.at); err != nil {
		return seen, err
	}
	for _, one := range []struct {
		polls int
		used  *asked
	}{{p.polls, &seen.ours}, {p.morePolls, &seen.longer}} {
		b.Progress.Sayf("run %d of %d, %s: klingwatch, %d tasks, %d polls each", run, p.runs, d.label, p.tasks, one.polls)
		if *one.used, err = (workload{klingwatch, d.at, p.tasks, one.polls}).saturate(ctx, b); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

// addParts adds how much of the HTTP client alone klingwatch reaches.
func (p pollPlan) addParts(s *figures.Series, d door, seen compared) {
	s.Add(d.name+"http_polls_per_second", "HTTP limit, "+d.label, "polls/s", seen.limit.Rate(), nil)
	for _, one := range []struct {
		ending string
		polls  int
		used   asked
		target *figures.Target
	}{{"", p.polls, seen.ours, d.part}, {"_longer", p.morePolls, seen.longer, d.partLonger}} {
		label := fmt.Sprintf("%s, %d polls per task", d.label, one.polls)
		s.Add(d.name+"polls_per_second"+one.ending, "klingwatch, "+label, "polls/s", one.used.Rate(), nil)
		s.Add(d.name+"part_of_http_limit"+one.ending, "klingwatch : HTTP limit, "+label, "", figures.Ratio(one.used.Rate(), seen.limit.Rate()), one.target)
		s.Add(d.name+"cpu_to_http_limit"+one.ending, "CPU per poll of all processes, klingwatch : HTTP limit, "+label, "",
			figures.Ratio(one.used.cpuPerPoll(), seen.limit.cpuPerPoll()), nil)
	}
}

// addCPU adds what a poll costs, that of the stub apart.
func addCPU(s *figures.Series, name, label string, u asked) {
	s.Add(name+"_cpu_per_poll", "CPU per poll, "+label+": client", "us", u.PerRequest(u.Client), nil)
	s.Add(name+"_postgres_cpu_per_poll", "CPU per poll, "+label+": Postgres", "us", u.PerRequest(u.Postgres), nil)
	s.Add(name+"_relay_cpu_per_poll", "CPU per poll, "+label+": stub of the relay", "us", u.PerRequest(u.Server), nil)
	s.Add(name+"_others", "CPU of other work meanwhile, "+label, "%", u.Others(), nil)
}
