package ledger

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// event is an event of a task, with the change that it tells of.
type event struct {
	db.NewEvent
	of db.Changed
}

// addEvents writes events, with their deliveries, under ids that are the same if the
// change is lost and made again. Where an id is taken, because somebody has deleted
// events or renamed tasks by hand, the event gets the next number.
func addEvents(ctx context.Context, tx pgx.Tx, events []event) error {
	if len(events) == 0 {
		return nil
	}
	secret, err := eventSecret(ctx, tx)
	if err != nil {
		return err
	}
	for passed := 0; len(events) > 0; passed++ {
		rows := make([]db.NewEvent, len(events))
		for i, e := range events {
			rows[i] = e.NewEvent
			rows[i].EventID = webhook.EventID(secret, e.Type, e.of.Number+passed, e.of.Relay, e.of.Action, e.of.Action2, e.of.TaskID)
		}
		added, err := db.AddEvents(ctx, tx, rows)
		if err != nil {
			return err
		}
		tellOrderWait(ctx, added.Waited)
		events = slices.DeleteFunc(events, func(e event) bool { return !slices.Contains(added.Taken, e.Task) })
	}
	return nil
}

// eventSecret is read for each transaction: a process may outlive the database that it
// started on.
func eventSecret(ctx context.Context, tx pgx.Tx) ([]byte, error) {
	secret, err := db.EventSecret(ctx, tx)
	if errors.Is(err, db.ErrNotFound) {
		return nil, errNoEventSecret
	}
	return secret, err
}

type orderWait struct{}

// WithOrderWait has told called with how long a transaction of this context waited for its
// turn to write events; nil: it is not.
func WithOrderWait(ctx context.Context, told func(time.Duration)) context.Context {
	return context.WithValue(ctx, orderWait{}, told)
}

func tellOrderWait(ctx context.Context, seconds float64) {
	if told, _ := ctx.Value(orderWait{}).(func(time.Duration)); told != nil {
		told(time.Duration(seconds * float64(time.Second)))
	}
}

var errNoEventSecret = errors.New("klingwatch.event_secret has no row: restore it from a backup, " +
	"or make a new one, and with it new webhook-ids: insert into klingwatch.event_secret default values")
