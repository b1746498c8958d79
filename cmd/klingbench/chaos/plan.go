package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// The kinds of faults.
const (
	workerKill   = "worker-kill"
	workerStop   = "worker-stop"
	postgresKill = "postgres-kill"
	sessions     = "sessions"
	readOnly     = "read-only"
	connections  = "connections"
	flip         = "flip"
	flipLossy    = "flip-lossy"
	blackHole    = "blackhole"
	clock        = "clock"
	relay        = "relay"
	receiver     = "receivers"
)

// kind is a kind of fault.
type kind struct {
	name        string
	help        string
	least, most time.Duration // how long it lasts
	server      bool          // it changes the server: one of these at a time
	away        bool          // nobody can write meanwhile, and /readyz must say so
	beside      bool          // it is long: the next begins meanwhile
	lingers     time.Duration // how long its effect may be seen afterwards
	backWithin  time.Duration // how soon the work must go on afterwards; 0: in the end
}

const second = time.Second

// kinds are all kinds of faults.
var kinds = []kind{
	{name: workerKill, help: "kill -9 of a worker, which is started again after a while", least: second / 2, most: 3 * second},
	{name: workerStop, help: "SIGSTOP of a worker, then SIGCONT", least: 12 * second, most: 30 * second, beside: true},
	{name: postgresKill, help: "kill -9 of Postgres with all its processes, which is started again", least: 5 * second / 2, most: 6 * second, server: true, away: true, backWithin: 10 * second},
	{name: sessions, help: "pg_terminate_backend of all sessions of klingwatch, again and again", least: second, most: 3 * second},
	{name: readOnly, help: "default_transaction_read_only for the server, or for the database with new sessions", least: 3 * second, most: 8 * second, server: true, away: true, backWithin: 5 * second},
	{name: connections, help: "another role takes all connections", least: 5 * second / 2, most: 6 * second, server: true, backWithin: 10 * second},
	{name: flip, help: "a standby that has everything becomes the primary; the old one stays, read-only, with its sockets open", least: 3 * second, most: 5 * second, server: true, away: true, backWithin: 15 * second},
	{name: flipLossy, help: "the same with a standby that lags: what was committed last is lost", least: 4 * second, most: 6 * second, server: true, away: true, backWithin: 15 * second},
	{name: blackHole, help: "the sockets of a worker to Postgres go dead without being closed, for a while or for ever", least: 5 * second, most: 15 * second},
	{name: clock, help: "the clock of Postgres steps by an hour, forward or back, and returns", least: 3 * second, most: 8 * second, server: true},
	{name: relay, help: "the relay answers 503 or 429, or closes connections", least: 3 * second, most: 8 * second, lingers: 15 * second},
	{name: receiver, help: "the receivers of webhooks answer 500, answer late, or close connections", least: 3 * second, most: 8 * second},
}

// kindsNamed returns the kinds with these names, all of them for no name.
func kindsNamed(names []string) ([]kind, error) {
	if len(names) == 0 {
		return kinds, nil
	}
	var chosen []kind
	for _, name := range names {
		k, found := kindNamed(name)
		if !found {
			return nil, fmt.Errorf("there is no kind of fault %q; the kinds are %s", name, strings.Join(kindNames(), ", "))
		}
		chosen = append(chosen, k)
	}
	return chosen, nil
}

func kindNamed(name string) (k kind, found bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

func kindNames() (names []string) {
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

// without removes a kind.
func without(list []kind, name string) []kind {
	return slices.DeleteFunc(slices.Clone(list), func(k kind) bool { return k.name == name })
}

// occurrence is one fault of a plan.
type occurrence struct {
	kind   kind
	at     time.Duration // from the beginning
	lasts  time.Duration
	worker int // which of the workers, where the kind is about one
	choice int // which variant; any number from 0
}

const (
	workers = 2
	// calm between two faults.
	leastCalm, mostCalm = 3 * second / 2, 4 * second
	// overlapping is the part of faults during which the next one begins already.
	overlapping = 0.2
)

// makePlan draws faults that end within the length: first every kind once, in any
// order, shorter and closer to each other where there is little time, then any.
func makePlan(seed uint64, length time.Duration, of []kind) (plan []occurrence) {
	random := rand.New(rand.NewPCG(seed, 0))
	first := slices.Clone(of)
	random.Shuffle(len(first), func(i, j int) { first[i], first[j] = first[j], first[i] })
	// what is long comes early, so that others fit beside it
	slices.SortStableFunc(first, func(a, b kind) int { return boolToInt(b.beside) - boolToInt(a.beside) })

	squeeze := squeezeFor(length, first)
	var at, serverFree time.Duration
	over := map[string]time.Duration{} // when the last one of a kind is over: one would repair the other
	for n := 0; ; n++ {
		var k kind
		if n < len(first) {
			k = first[n]
		} else {
			k = of[random.IntN(len(of))]
		}
		o := occurrence{
			kind: k, at: at, lasts: between(random, k.least, k.most, squeeze), worker: random.IntN(workers), choice: random.IntN(1 << 16),
		}
		o.at = max(o.at, over[k.name])
		if k.server {
			o.at = max(o.at, serverFree)
		}
		calm := between(random, leastCalm, mostCalm, squeeze)
		early := random.Float64() < overlapping
		if n >= len(first) && o.at+o.lasts > length {
			return plan
		}
		plan = append(plan, o)
		at = o.at + o.lasts + calm
		over[k.name] = at
		if k.server {
			serverFree = at
		}
		if k.beside || early {
			at = o.at + calm
		}
	}
}

// squeezeFor returns how much shorter than drawn everything has to be, from 0 (as
// drawn) to 1 (as short as can be), for all kinds to fit.
func squeezeFor(length time.Duration, all []kind) float64 {
	var least, most time.Duration
	for _, k := range all {
		least, most = least+leastCalm, most+mostCalm
		if !k.beside {
			least, most = least+k.least, most+k.most
		} else {
			most += k.most // it may come last
		}
	}
	if most <= length || most == least {
		return 0
	}
	return min(1, float64(most-length)/float64(most-least))
}

// between draws a duration; squeeze shrinks the span above the least.
func between(random *rand.Rand, least, most time.Duration, squeeze float64) time.Duration {
	return least + time.Duration(random.Float64()*(1-squeeze)*float64(most-least))
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
