package poll

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/outbound"
)

// Config sets up Relays. Pool, Metrics and Log are required.
type Config struct {
	Pool      *pgxpool.Pool
	Metrics   *metrics.Polling
	OrderWait func(time.Duration) // told how long a write waited for its turn to write events; nil: nobody is
	Log       *slog.Logger
	Tracer    trace.Tracer // nil: nothing is traced

	Interval      time.Duration // between two polls of one task; jittered
	TaskDeadline  time.Duration // age at which a task without a deadline of its own becomes expired
	Archive       bool          // files are to be kept, unless a task or its relay say otherwise
	NotFoundGrace time.Duration // 0: DefaultNotFoundGrace
	ProbeDistance time.Duration // between two probes of a refused credential; 0: DefaultProbeDistance

	// TestHook, when set, is called when a request is about to be sent, for each of
	// its tasks.
	TestHook func(task int64, due, begun time.Time)
}

// lane is what all tasks share in this process that are asked about at one host with
// one key: what one of them finds out there holds for all.
type lane struct {
	*common
	credential string                   // of host and key
	names      atomic.Pointer[[]string] // of its relays, for people
	limiter    *rate.Limiter
	allowed    float64      // requests per second, of all processes together; guarded by the mutex of Relays
	sent       atomic.Int64 // requests since needs was asked
	gate       gate
	pause      pause
}

func newLane(c *common, credential string) *lane {
	return &lane{common: c, credential: credential, limiter: rate.NewLimiter(0, 1)}
}

// setNames takes the names of the relays whose tasks are here, and reports whether they
// are others than before.
func (l *lane) setNames(names []string) (changed bool) {
	before := l.names.Swap(&names)
	return before == nil || !slices.Equal(*before, names)
}

// relayNames are the relays of the lane, for people.
func (l *lane) relayNames() string {
	if names := l.names.Load(); names != nil {
		return strings.Join(*names, ", ")
	}
	return ""
}

// noteNames shows the pause under the names that the lane has now.
func (l *lane) noteNames() {
	l.pause.mu.Lock()
	defer l.pause.mu.Unlock()
	l.showPause()
}

// showPause brings the gauges of the lane's relays up to date; the pause's mutex is
// held.
func (l *lane) showPause() {
	paused := 0.0
	if l.pause.on {
		paused = 1
	}
	if names := l.names.Load(); names != nil {
		for _, name := range *names {
			l.Metrics.PollingPaused.WithLabelValues(name).Set(paused)
		}
	}
}

// setRate takes how many requests per second this process may send here.
func (l *lane) setRate(limit float64) {
	if l.limiter.Limit() == rate.Limit(limit) {
		return
	}
	l.limiter.SetLimit(rate.Limit(limit))
	l.limiter.SetBurst(burstOf(limit))
}

// needs is which part of the rate this process needs here: for what it sent in the time
// that has passed since it was asked, and for what is overdue, within a second. Where
// nothing may be sent, it needs nothing.
func (p *Poller) needs(passed time.Duration) float64 {
	sent := float64(p.sent.Swap(0)) / max(passed, time.Second).Seconds()
	if p.allowed <= 0 || p.gate.closed() || p.paused() {
		return 0
	}
	return (sent + p.overdue(time.Now(), p.allowed)) / p.allowed
}

// emptyBurst makes the next request wait for its turn.
func (l *lane) emptyBurst() { l.limiter.AllowN(time.Now(), l.limiter.Burst()) }

// burstOf is a fiftieth of a second's worth. The rate allows a tenth; the rest is
// for what bunches up on the way.
func burstOf(limit float64) int { return max(1, int(limit/50)) }

// logGate reports that a relay as a whole is in trouble, or no longer.
func (l *lane) logGate(relay string, err error) {
	if relayInTrouble(err) {
		l.Log.Warn("the relay is in trouble, all polling there slows down", "relay", relay, "reason", outbound.LogLine(err.Error()))
		return
	}
	l.Log.Info("the relay answers again", "relay", relay)
}

// count puts a poll into the metrics; an unknown word is logged once.
func (c *common) count(w *Watched, v verdict, reply *klingapi.Reply) {
	w.relay.polls[v.outcome].Inc()
	if !v.unknown {
		return
	}
	c.Metrics.UnknownWords.Inc()
	if c.words.isNew(reply.Record.Word) {
		c.Log.Warn("unknown status word, counted as still running; logged once", "word", reply.Record.Word, "task", w.task.ID, "task_id", w.task.TaskID)
	}
}

// maxWords bounds the memory for words that come from outside.
const maxWords = 100

// wordLog remembers which unknown status words were logged already.
type wordLog struct {
	mu     sync.Mutex
	logged map[string]bool
}

// isNew reports whether a word is to be logged: once, and only so many of them.
func (l *wordLog) isNew(word string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.logged[word] || len(l.logged) >= maxWords {
		return false
	}
	if l.logged == nil {
		l.logged = map[string]bool{}
	}
	l.logged[word] = true
	return true
}
