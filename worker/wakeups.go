package worker

import (
	"context"
	"encoding/json"

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
)

// wakeDriver is River's driver for Postgres, but its listener hears only wake-ups.
type wakeDriver struct{ riverdriver.Driver[pgx.Tx] }

func newDriver(below riverdriver.Driver[pgx.Tx]) riverdriver.Driver[pgx.Tx] {
	return wakeDriver{below}
}

// GetListener returns the listener of the driver, made deaf to all but wake-ups.
func (d wakeDriver) GetListener(params *riverdriver.GetListenenerParams) riverdriver.Listener {
	return wakeListener{d.Driver.GetListener(params)}
}

type wakeListener struct{ riverdriver.Listener }

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

// WaitForNotification returns the next note that names a queue. Others are garbage.
func (l wakeListener) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	for {
		note, err := l.Listener.WaitForNotification(ctx)
		if err != nil || wakes(note.Payload) {
			return note, err
		}
	}
}

// wakes reports whether a note is a wake-up.
func wakes(payload string) bool {
	var note struct {
		Queue string `json:"queue"`
	}
	return len(payload) <= longestWakeUp && json.Unmarshal([]byte(payload), &note) == nil && note.Queue != ""
}
