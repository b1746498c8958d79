package poll

import (
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/outbound"
)

// Config sets up a Lane. Pool, Relay, Metrics and Log are required.
type Config struct {
	Pool    *pgxpool.Pool
	Relay   *klingapi.Client
	Metrics *metrics.Polling
	Log     *slog.Logger
	Tracer  trace.Tracer // nil: nothing is traced

	Interval      time.Duration // between two polls of one task; jittered
	Rate          float64       // requests per second, of the whole deployment
	TaskDeadline  time.Duration // age at which a task without a deadline of its own becomes expired
	NotFoundGrace time.Duration // 0: DefaultNotFoundGrace
	ProbeDistance time.Duration // between two probes of a refused credential; 0: DefaultProbeDistance
	Slots         int           // tasks that can be resident here; when nine tenths are taken, they leave sooner

	// TestHook, when set, is called when a request is about to be sent.
	TestHook func(task int64, due, begun time.Time)
}

// Lane is what all tasks of one relay share in this process: what one task
// finds out about the relay holds for all of them.
type Lane struct {
	Config
	limiter   *rate.Limiter
	gate      gate
	pause     pause
	paths     paths
	schedules schedules
	words     wordLog
}

// NewLane returns a Lane with the whole of its rate.
func NewLane(cfg Config) *Lane {
	if cfg.NotFoundGrace == 0 {
		cfg.NotFoundGrace = DefaultNotFoundGrace
	}
	if cfg.ProbeDistance == 0 {
		cfg.ProbeDistance = DefaultProbeDistance
	}
	return &Lane{Config: cfg, limiter: rate.NewLimiter(rate.Limit(cfg.Rate), burstOf(cfg.Rate))}
}

// SetShare takes this process's share, from 0 to 1, of the deployment's rate.
func (l *Lane) SetShare(share float64) {
	limit := l.Rate * share
	if l.limiter.Limit() == rate.Limit(limit) {
		return
	}
	l.limiter.SetLimit(rate.Limit(limit))
	l.limiter.SetBurst(burstOf(limit))
}

// EmptyBurst makes the next request wait for its turn: an earlier life of the
// process may have used its second up.
func (l *Lane) EmptyBurst() { l.limiter.AllowN(time.Now(), l.limiter.Burst()) }

// burstOf is a fiftieth of a second's worth. The rate allows a tenth; the rest is
// for what bunches up on the way.
func burstOf(limit float64) int { return max(1, int(limit/50)) }

// logGate reports that the relay as a whole is in trouble, or no longer.
func (l *Lane) logGate(err error) {
	if relayInTrouble(err) {
		l.Log.Warn("the relay is in trouble, all polling slows down", "reason", outbound.LogLine(err.Error()))
		return
	}
	l.Log.Info("the relay answers again")
}

// count puts a poll into the metrics; an unknown word is logged once.
func (l *Lane) count(task db.PollTarget, v verdict, reply *klingapi.Reply) {
	l.Metrics.Polls.WithLabelValues(string(v.outcome)).Inc()
	if !v.unknown {
		return
	}
	l.Metrics.UnknownWords.Inc()
	if l.words.isNew(reply.Record.Word) {
		l.Log.Warn("unknown status word, counted as still running; logged once", "word", reply.Record.Word, "task", task.ID, "task_id", task.TaskID)
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
