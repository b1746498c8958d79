package worker

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
)

// Postgres has no rights on channels: any role that may connect can send a note. So a
// note is never obeyed, it only wakes: River hears that a queue has new jobs, and looks.
// What else it would take from notes, that a queue is paused, a job canceled or the
// leader to resign, it reads in its tables, once a minute.

const (
	// insertTopic is River's channel for new jobs.
	insertTopic = "river_insert"
	// longestWakeUp is more than River or our triggers send.
	longestWakeUp = 200
	// A queue is woken as often as notes come, up to wakeBurst times in a row, and then
	// once per wakePace: River reads the queue each time, whoever sent the note.
	wakePace  = 50 * time.Millisecond
	wakeBurst = 10
)

// wakeUps are the notes that queues have new jobs. One that comes too early is kept, so
// that no job waits because of many notes.
type wakeUps struct {
	mu     sync.Mutex
	worked map[string]*wakeUp // by queue; of others nothing is heard
}

// wakeUp is of one queue.
type wakeUp struct {
	said bool      // since it was woken last
	paid time.Time // until then its notes have used up their turns
}

func newWakeUps() *wakeUps {
	w := &wakeUps{}
	w.hear(nil)
	return w
}

// hear lets notes about the queues of tasks that are worked through, beside those that have no relay.
func (w *wakeUps) hear(queues []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	worked := map[string]*wakeUp{deliverQueue: {}, bulkQueue: {}, redeliverQueue: {}, cancelQueue: {}, archiveQueue: {}}
	for _, queue := range queues {
		worked[queue] = &wakeUp{}
	}
	for queue := range worked {
		if known := w.worked[queue]; known != nil {
			worked[queue] = known
		}
	}
	w.worked = worked
}

// say notes that a queue has new jobs, and reports whether that is news.
func (w *wakeUps) say(queue string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.worked[queue]
	if known == nil || known.said {
		return false
	}
	known.said = true
	return true
}

// next returns a queue to be woken now, or "" and how long to wait for the next one that
// has been said; 0: none has.
func (w *wakeUps) next(now time.Time) (queue string, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, known := range w.worked {
		if !known.said {
			continue
		}
		turn := known.paid.Add(-(wakeBurst - 1) * wakePace)
		if !turn.After(now) {
			known.said, known.paid = false, later(known.paid, now).Add(wakePace)
			return name, 0
		}
		if early := turn.Sub(now); wait == 0 || early < wait {
			wait = early
		}
	}
	return "", wait
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// wakeDriver is River's driver for Postgres, but its listener hears only wake-ups.
type wakeDriver struct {
	riverdriver.Driver[pgx.Tx]
	heard *wakeUps
}

// GetListener returns the listener of the driver, made deaf to all but wake-ups.
func (d wakeDriver) GetListener(params *riverdriver.GetListenenerParams) riverdriver.Listener {
	return wakeListener{d.Driver.GetListener(params), d.heard}
}

type wakeListener struct {
	riverdriver.Listener
	heard *wakeUps
}

// Listen subscribes to wake-ups only.
func (l wakeListener) Listen(ctx context.Context, topic string) error {
	if topic != insertTopic {
		return nil
	}
	return l.Listener.Listen(ctx, topic)
}

// Unlisten undoes Listen.
func (l wakeListener) Unlisten(ctx context.Context, topic string) error {
	if topic != insertTopic {
		return nil
	}
	return l.Listener.Unlisten(ctx, topic)
}

// WaitForNotification returns when a queue is to be woken.
func (l wakeListener) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	for {
		queue, wait := l.heard.next(time.Now())
		if queue != "" {
			payload, err := json.Marshal(wakeNote{queue})
			return &riverdriver.Notification{Topic: insertTopic, Payload: string(payload)}, err
		}
		if err := l.listen(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// listen returns when a note brings news, or after a time; 0 is for ever.
func (l wakeListener) listen(ctx context.Context, limit time.Duration) error {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if limit > 0 {
		limited, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	for limited.Err() == nil {
		note, err := l.Listener.WaitForNotification(limited)
		if err != nil && limited.Err() == nil {
			return err
		}
		if err == nil && l.heard.say(queueIn(note.Payload)) {
			return nil
		}
	}
	return ctx.Err()
}

// wakeNote is what a note about new jobs says.
type wakeNote struct {
	Queue string `json:"queue"`
}

// queueIn returns the queue that a note names, "" for garbage.
func queueIn(payload string) string {
	var note wakeNote
	if len(payload) > longestWakeUp || json.Unmarshal([]byte(payload), &note) != nil {
		return ""
	}
	return note.Queue
}
