package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

// Bulk is what is to be done to many tasks or deliveries.
type Bulk struct {
	Action     string            // db.BulkRedeliver, db.BulkRetry, db.BulkCancel or db.BulkArchive
	Tasks      db.TaskChoice     // what is retried or canceled, or whose files are kept; without a status what failed, expired or was not found, or all that is open
	Deliveries db.DeliveryChoice // what is sent again; without a state what was exhausted
	PerSecond  int               // 1 to MaxPerSecond are changed in a second; 0, for tasks: as many as polls and webhooks leave room for
	Expected   *int64            // what CountBulk told: it is an *Error with Changed where it is another number now; nil: any
}

// MaxPerSecond bounds how many tasks or deliveries a bulk action with a pace changes in a
// second.
const MaxPerSecond = 500

// DefaultPerSecond is how many deliveries are sent again in a second where nothing is
// said: their receivers must bear it.
const DefaultPerSecond = 50

// bulkStates are what an action can change, and what it changes where nothing is said: a task
// that succeeded, or that a person canceled, is retried only if that is asked for.
var bulkStates = map[string]struct{ possible, usual []string }{
	db.BulkRedeliver: {[]string{db.DeliveryExhausted, db.DeliveryDelivered, db.DeliveryCanceled}, []string{db.DeliveryExhausted}},
	db.BulkRetry:     {[]string{db.Failed, db.Expired, db.NotFound, db.Succeeded, db.Canceled}, []string{db.Failed, db.Expired, db.NotFound}},
	db.BulkCancel:    {[]string{db.Pending, db.Submitted, db.Processing}, []string{db.Pending, db.Submitted, db.Processing}},
	db.BulkArchive:   {[]string{db.Succeeded}, []string{db.Succeeded}},
}

// Possible are the statuses of tasks, or the states of deliveries, that an action can change.
func Possible(action string) []string { return bulkStates[action].possible }

// Usual are those of Possible that an action changes where nothing is said.
func Usual(action string) []string { return bulkStates[action].usual }

// Check returns an *Error for a choice that cannot be made, or that chooses everything.
func (b Bulk) Check() error {
	all, since, until, field, states := b.Tasks.ChoosesAll(), b.Tasks.Since, b.Tasks.Until, "status", b.Tasks.Statuses
	least := 0
	if b.Action == db.BulkRedeliver {
		least = 1
		all, since, until, field, states = b.Deliveries.ChoosesAll(), b.Deliveries.Since, b.Deliveries.Until, "state", b.Deliveries.States
	}
	switch {
	case all:
		return invalid("", "choose what to %s, at least by a time: since", b.Action).rule("must choose something, at least by a time")
	case !until.IsZero() && !until.After(since):
		return invalid("until", "must be later than since")
	case b.PerSecond < least || b.PerSecond > MaxPerSecond:
		return invalid("per_second", "must be from %d to %d, not %d", least, MaxPerSecond, b.PerSecond)
	}
	for _, state := range states {
		if possible := bulkStates[b.Action].possible; !slices.Contains(possible, state) {
			return invalid(field, "must be %s, not %q", or(possible), state).rule("must be " + or(possible))
		}
	}
	return nil
}

// usual fills in the states or statuses that are usual for the action where none is given.
// Of those whose files could be kept only those are of use that are not kept yet.
func (b Bulk) usual() Bulk {
	if usual := bulkStates[b.Action].usual; b.Action == db.BulkRedeliver && len(b.Deliveries.States) == 0 {
		b.Deliveries.States = usual
	} else if b.Action != db.BulkRedeliver && len(b.Tasks.Statuses) == 0 {
		b.Tasks.Statuses = usual
	}
	b.Tasks.Unkept = b.Action == db.BulkArchive
	return b
}

// or joins words: a, b or c.
func or(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// CountBulk counts what a bulk action would change now.
func CountBulk(ctx context.Context, pool *pgxpool.Pool, b Bulk) (n int64, err error) {
	if err := checkBulk(ctx, pool, b); err != nil {
		return 0, err
	}
	return b.usual().count(ctx, pool)
}

// BeginBulk begins a bulk action, which a running service works off.
func BeginBulk(ctx context.Context, pool *pgxpool.Pool, b Bulk) (begun db.Bulk, err error) {
	if err := checkBulk(ctx, pool, b); err != nil {
		return begun, err
	}
	b = b.usual()
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		matched, err := b.count(ctx, tx)
		if err != nil {
			return err
		}
		if b.Expected != nil && *b.Expected != matched {
			return refuse(Changed, "", "%d are chosen now, not %d", matched, *b.Expected)
		}
		if b.Action == db.BulkRedeliver {
			begun, err = db.AddRedelivery(ctx, tx, b.Deliveries, matched, b.PerSecond)
		} else {
			begun, err = db.AddTaskAction(ctx, tx, b.Action, b.Tasks, matched, b.PerSecond)
		}
		return err
	})
	if _, refused := errors.AsType[*Error](err); err != nil && !refused {
		err = fmt.Errorf("beginning to %s: %w", b.Action, err)
	}
	return begun, err
}

func (b Bulk) count(ctx context.Context, q db.Querier) (n int64, err error) {
	if b.Action == db.BulkRedeliver {
		n, err = db.CountDeliveries(ctx, q, b.Deliveries)
	} else {
		n, err = db.CountTasks(ctx, q, b.Tasks)
	}
	if err != nil {
		return 0, fmt.Errorf("counting what to %s: %w", b.Action, err)
	}
	return n, nil
}

// checkBulk also checks that there is the endpoint and the relay that it names.
func checkBulk(ctx context.Context, pool *pgxpool.Pool, b Bulk) error {
	if err := b.Check(); err != nil {
		return err
	}
	if b.Deliveries.Endpoint != nil {
		if _, err := GetEndpoint(ctx, pool, *b.Deliveries.Endpoint); err != nil {
			return err
		}
	}
	if err := KnowsRelay(ctx, pool, b.Tasks.Relay); err != nil {
		return err
	}
	return KnowsRelay(ctx, pool, b.Deliveries.Tasks.Relay)
}

// KnowsRelay returns an *Error where there is no such relay; "" is any.
func KnowsRelay(ctx context.Context, pool *pgxpool.Pool, name string) error {
	if name == "" || name == db.DefaultRelay {
		return nil
	}
	exists, err := db.RelayExists(ctx, pool, name)
	switch {
	case err != nil:
		return fmt.Errorf("reading the relay: %w", err)
	case !exists:
		return noRelay(name)
	}
	return nil
}

func noRelay(name string) error {
	return refuse(NotFound, "see klingwatch relays list", "there is no relay %s", name)
}

// ViewBulk returns a bulk action; a redelivery that is gone went with its endpoint.
func ViewBulk(ctx context.Context, pool *pgxpool.Pool, id int64) (db.Bulk, error) {
	list, err := db.ListBulks(ctx, pool, id, 0, 1)
	if err != nil {
		return db.Bulk{}, fmt.Errorf("reading the progress of bulk action %d: %w", id, err)
	}
	if len(list) == 0 {
		return db.Bulk{}, refuse(NotFound, "see klingwatch bulk list", "there is no bulk action %d; a redelivery goes with its endpoint", id)
	}
	return list[0], nil
}

// StopBulk ends a bulk action; what is done stays done.
func StopBulk(ctx context.Context, pool *pgxpool.Pool, id int64) error {
	err := db.StopBulk(ctx, pool, id)
	if errors.Is(err, db.ErrNotFound) {
		return refuse(NotFound, "see klingwatch bulk list", "no bulk action %d is under way", id)
	}
	if err != nil {
		return fmt.Errorf("stopping bulk action %d: %w", id, err)
	}
	return nil
}
