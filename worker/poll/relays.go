package poll

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/metrics"
)

// Spec is a relay to ask, as its row and the machine of this process say.
type Spec struct {
	Name           string
	Version        int              // of the row
	Client         *klingapi.Client // nil: this process cannot ask; Unusable says why
	Unusable       string           // for people; "" where there is a Client
	Rate           float64          // most requests per second, of the whole deployment
	BatchSize      int              // most tasks in one request, where the Client takes several
	OutputLifetime time.Duration    // of files, from the end of their task
	Slots          int              // tasks that can be resident here; when nine tenths are taken, they leave sooner
}

// lane names the lane of a relay: that of its host and key, "" for one that cannot be
// asked here.
func (s Spec) lane() string {
	if s.Client == nil {
		return ""
	}
	return s.Client.Credential()
}

// relay is a relay of this process. Its tasks are in one lane, perhaps with those of
// relays that have the same host and key.
type relay struct {
	Spec
	poller    *Poller // nil: it cannot be asked here
	paths     paths
	places    places
	polls     map[pollOutcome]prometheus.Counter
	batch     batchLimit
	residents atomic.Int64 // tasks here
}

// crowded reports whether slots run short, as a part of all.
func (r *relay) crowded(part float64) bool {
	return float64(r.residents.Load()) > float64(r.Slots)*part
}

// atOnce is about how many tasks the relay can be asked in one request at present.
func (r *relay) atOnce() int {
	if !r.Client.Batches() {
		return 1
	}
	return max(r.batch.now(r.BatchSize), 1)
}

// is reports whether the relay is what a row says now, and in the lane of a credential.
func (r *relay) is(s Spec, credential string) bool {
	now := ""
	if r.poller != nil {
		now = r.poller.credential
	}
	return r.Version == s.Version && now == credential && r.Unusable == s.Unusable
}

func refOf(task db.PollTarget) klingapi.Ref {
	return klingapi.Ref{Action: task.Action, Action2: task.Action2, TaskID: task.TaskID}
}

// common is what all lanes of a process share.
type common struct {
	Config
	schedules schedules
	words     wordLog
	writer    *writer
	residents atomic.Int64 // tasks here
	draining  atomic.Bool  // all tasks are to leave
	instances atomic.Int64 // processes that work on the database
}

// Relays are the relays that a process asks, each in the lane of its host and key.
type Relays struct {
	*common
	asking context.Context // ends what is on its way, at a hard stop

	mu      sync.RWMutex
	byName  map[string]*relay
	lanes   map[string]*Poller // by credential
	share   float64            // of the rates, from 0 to 1
	running context.Context    // nil: lanes that are new need not be started
	lives   sync.WaitGroup     // lanes that run
}

// NewRelays returns Relays without any; when asking ends, requests on their way are
// cut off.
func NewRelays(asking context.Context, cfg Config) *Relays {
	if cfg.NotFoundGrace == 0 {
		cfg.NotFoundGrace = DefaultNotFoundGrace
	}
	if cfg.ProbeDistance == 0 {
		cfg.ProbeDistance = DefaultProbeDistance
	}
	r := &Relays{common: &common{Config: cfg}, asking: asking, byName: map[string]*relay{}, lanes: map[string]*Poller{}, share: 1}
	r.common.writer = newWriter(cfg, &r.draining)
	return r
}

// Set makes the relays those of specs. A relay that is no longer what its row says
// sends its tasks back, and they come to where it is now; the others are not touched.
func (r *Relays) Set(specs []Spec) {
	r.mu.Lock()
	next, used := make(map[string]*relay, len(specs)), map[string]bool{}
	var left []*relay
	for _, s := range specs {
		known, credential := r.byName[s.Name], s.lane() // once: a key file may change in between
		if known == nil || !known.is(s, credential) {
			r.showRelay(s)
			next[s.Name] = &relay{Spec: s, poller: r.lane(credential), polls: r.pollCounters(s.Name)}
		} else {
			next[s.Name] = known
		}
		used[credential] = true
	}
	for name, known := range r.byName {
		if next[name] != known && known.poller != nil {
			left = append(left, known)
		}
	}
	for name := range r.byName {
		if next[name] == nil {
			r.Metrics.RemoveRelay(name)
		}
	}
	r.byName = next
	renamed := r.setRates()
	var empty []*Poller
	for credential, p := range r.lanes {
		if !used[credential] {
			empty = append(empty, p)
			delete(r.lanes, credential)
		}
	}
	r.mu.Unlock()
	for _, old := range left {
		old.poller.release(old)
	}
	for _, p := range empty {
		p.retire()
	}
	for _, p := range renamed {
		p.noteNames()
	}
}

// showRelay serves the metrics of a relay.
func (r *Relays) showRelay(s Spec) {
	r.Metrics.AddRelay(s.Name)
	asked := 1.0
	if s.Client == nil {
		asked = 0
	}
	r.Metrics.RelayAsked.WithLabelValues(s.Name).Set(asked)
}

// pollCounters are those of a relay, which are looked up once.
func (r *Relays) pollCounters(relay string) map[pollOutcome]prometheus.Counter {
	counters := map[pollOutcome]prometheus.Counter{}
	for _, outcome := range metrics.PollOutcomes {
		counters[pollOutcome(outcome)] = r.Metrics.Polls.WithLabelValues(relay, outcome)
	}
	return counters
}

// lane returns the lane of a credential, which may be new, nil for none; the mutex is
// held.
func (r *Relays) lane(credential string) *Poller {
	p := r.lanes[credential]
	if p == nil && credential != "" {
		p = newPoller(r.asking, newLane(r.common, credential))
		r.lanes[credential] = p
		if r.running != nil {
			r.start(p)
		}
	}
	return p
}

// start runs a lane; the mutex is held.
func (r *Relays) start(p *Poller) {
	ctx, stop := context.WithCancel(r.running)
	p.stop = stop
	r.lives.Go(func() { p.Run(ctx) })
}

// SetShare takes this process's share, from 0 to 1, of the deployment's rates, and how
// many processes there are.
func (r *Relays) SetShare(share float64, instances int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.instances.Store(int64(instances))
	if r.share != share {
		r.share = share
		r.setRates()
	}
}

// Needs is which part of the rates this process needs: the largest of all lanes. passed is
// the time since it was asked.
func (r *Relays) Needs(passed time.Duration) (most float64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, p := range r.lanes {
		most = max(most, p.needs(passed))
	}
	return most
}

// setRates gives each lane the lowest rate of its relays, and their names; it
// returns those whose names are others than before. The mutex is held.
func (r *Relays) setRates() (renamed []*Poller) {
	rates, names := map[*Poller]float64{}, map[*Poller][]string{}
	for _, name := range slices.Sorted(maps.Keys(r.byName)) {
		relay := r.byName[name]
		p := relay.poller
		if p == nil {
			continue
		}
		if len(names[p]) == 0 || relay.Rate < rates[p] {
			rates[p] = relay.Rate
		}
		names[p] = append(names[p], name)
	}
	for p := range names {
		p.allowed = rates[p]
		p.setRate(rates[p] * r.share)
		if p.setNames(names[p]) {
			renamed = append(renamed, p)
		}
	}
	return renamed
}

// EmptyBurst makes the next request to each relay wait for its turn: an earlier life
// of the process may have used its second up.
func (r *Relays) EmptyBurst() {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, p := range r.lanes {
		p.emptyBurst()
	}
}

// Run asks about tasks as they come due until ctx ends, then waits for the requests on
// their way.
func (r *Relays) Run(ctx context.Context) {
	r.mu.Lock()
	r.running = ctx
	for _, p := range r.lanes {
		r.start(p)
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	r.running = nil
	r.mu.Unlock()
	r.lives.Wait()
}

// Start begins to write.
func (r *Relays) Start() { r.writer.Start() }

// Close writes what is left. Run must have returned.
func (r *Relays) Close() { r.writer.Close() }

// Admit takes a task in. One that is here already, comes while the process stops, or
// belongs to a relay that cannot be asked here, leaves soon, to come back. It needs little
// of the stack of the goroutine that will wait for the task: thousands of them do.
func (r *Relays) Admit(w *Watched) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if at := r.byName[w.task.Relay]; at != nil && at.poller != nil {
		at.poller.admit(at, w)
		return
	}
	w.turnAway(jittered(unaskedAway))
}

// Abandon forgets a task whose job was cut off.
func (r *Relays) Abandon(w *Watched) {
	if w.relay != nil {
		w.relay.poller.abandon(w)
	}
}

// Reread sends a task back whose row has another version than the one that is known
// here, so that it is read again: at once when it waits, else after its poll. Version 0
// is that of a row that is gone.
func (r *Relays) Reread(task int64, version int) {
	for _, p := range r.pollers() {
		p.reread(task, version)
	}
}

// Call asks about a task soon, where it is here, since a callback says that it has
// changed.
func (r *Relays) Call(task int64) {
	for _, p := range r.pollers() {
		p.call(task)
	}
}

// Resident reports whether a task is here.
func (r *Relays) Resident(task int64) bool {
	return slices.ContainsFunc(r.pollers(), func(p *Poller) bool { return p.has(task) })
}

// Look returns what is known here of those tasks that are here.
func (r *Relays) Look(tasks []int64) (found []db.LivePoll) {
	for _, task := range tasks {
		for _, p := range r.pollers() {
			if live, here := p.look(task); here {
				found = append(found, live)
			}
		}
	}
	return found
}

// named is a relay as it is now; nil: there is none of that name.
func (r *Relays) named(name string) *relay {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byName[name]
}

// errNoFile says that a relay was asked about a task and named no file.
var errNoFile = errors.New("the relay names no file of the task any more")

// Renew asks a relay where the files of a task that succeeded are now, within the rate of
// the relay. Its errors are the relay's, or ctx's.
func (r *Relays) Renew(ctx context.Context, task db.PollTarget) ([]db.Output, error) {
	at := r.named(task.Relay)
	if at == nil || at.poller == nil {
		return nil, fmt.Errorf("this process cannot ask the relay %s", task.Relay)
	}
	if err := at.poller.limiter.Wait(ctx); err != nil {
		return nil, err
	}
	at.poller.sent.Add(1)
	reply, err := at.Client.GetTask(ctx, refOf(task))
	if err != nil {
		return nil, err
	}
	outputs := outputsOf(task.ID, verdict{status: db.Succeeded}, reply, at.OutputLifetime)
	if len(outputs) == 0 {
		return nil, errNoFile
	}
	return outputs, nil
}

// KeyFor is the header that a relay wants with a link of its own; nil where the link leads
// elsewhere, or the relay cannot be asked here.
func (r *Relays) KeyFor(relay, url string) http.Header {
	at := r.named(relay)
	if at == nil || at.Client == nil {
		return nil
	}
	return at.Client.KeyFor(url)
}

// Drain sends all tasks back: what waits now, what is on its way when it is written.
func (r *Relays) Drain() {
	r.draining.Store(true)
	for _, p := range r.pollers() {
		p.drain()
	}
}

func (r *Relays) pollers() []*Poller {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.lanes))
}

// unaskedLimit bounds how many tasks ExpireUnasked lets expire at once.
const unaskedLimit = 1000

// ExpireUnasked lets the tasks of relays expire that cannot be asked here, once their
// deadline has passed longer than grace ago: nobody else has asked about them either.
func (r *Relays) ExpireUnasked(ctx context.Context, grace time.Duration) error {
	tasks, err := db.UnaskedTargets(ctx, r.Pool, r.Asked(), r.TaskDeadline, grace, unaskedLimit)
	if err != nil {
		return fmt.Errorf("looking for tasks that nobody asks about: %w", err)
	}
	changes := make([]ledger.Change, len(tasks))
	for i, task := range tasks {
		changes[i] = ledger.Change{Change: changeOf(task, expireUnasked(task, Memory{}), nil, r.TaskDeadline)}
	}
	if len(changes) == 0 {
		return nil
	}
	applied, err := ledger.Apply(ctx, r.Pool, changes, nil)
	if err != nil {
		return fmt.Errorf("expiring tasks that nobody asks about: %w", err)
	}
	for _, task := range tasks {
		if applied[task.ID] {
			r.Metrics.CountStatus(task.Action+"/"+task.Action2, db.Expired)
		}
	}
	if len(applied) > 0 {
		r.Log.Warn("tasks expired whose relay no process could ask", "tasks", len(applied))
	}
	return nil
}

// Asked lists the relays that can be asked here.
func (r *Relays) Asked() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	names := []string{}
	for name, relay := range r.byName {
		if relay.poller != nil {
			names = append(names, name)
		}
	}
	return names
}

// Residents counts the tasks here.
func (r *Relays) Residents() int { return int(r.residents.Load()) }

// UnservedPaths lists the paths whose answers are not a relay's, with what they
// answer: the address, the prefix or the path is wrong.
func (r *Relays) UnservedPaths() (list []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(r.byName)) {
		for _, path := range r.byName[name].paths.closed() {
			list = append(list, fmt.Sprintf("%s at relay %s", path, name))
		}
	}
	return list
}

// Unasked lists the relays that this process cannot ask, with the reason.
func (r *Relays) Unasked() (list []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(r.byName)) {
		if why := r.byName[name].Unusable; why != "" {
			list = append(list, name+": "+why)
		}
	}
	return list
}
