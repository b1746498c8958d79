package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// PauseStale is how long after its last planned probe a pause is over: its credential
// is not in use any more. It is several times the distance of probes, a minute.
const PauseStale = 5 * time.Minute

// Pause is a credential that the relay refuses, a row of klingwatch.polling_pauses.
type Pause struct {
	Credential string    `json:"credential"` // fingerprint of the key
	Reason     string    `json:"reason"`     // what the relay answered
	PausedAt   time.Time `json:"paused_at"`
	ProbeAt    time.Time `json:"probe_at"` // when one process may ask again
}

// PausePolling writes that the relay refuses a credential, with a first probe after
// probeIn. It returns true for the first caller to report that. A pause that nobody
// has probed for longer than stale is over: it begins anew.
func PausePolling(ctx context.Context, q Querier, credential, reason string, probeIn, stale time.Duration) (first bool, err error) {
	tag, err := q.Exec(ctx, `
		insert into klingwatch.polling_pauses as p (credential, reason, probe_at)
		values (@credential, @reason, now() + @probe_in::interval)
		on conflict (credential) do update
		set reason = excluded.reason,
		    paused_at = now(),
		    probe_at = excluded.probe_at
		where p.probe_at <= now() - @stale::interval`,
		pgx.StrictNamedArgs{"credential": credential, "reason": reason, "probe_in": probeIn, "stale": stale})
	return tag.RowsAffected() > 0, err
}

// ClaimProbe returns true to one caller of all processes when the probe of a paused
// credential is due, and plans the next one after distance.
func ClaimProbe(ctx context.Context, q Querier, credential string, distance time.Duration) (claimed bool, err error) {
	tag, err := q.Exec(ctx, `
		update klingwatch.polling_pauses
		set probe_at = now() + @distance::interval
		where credential = @credential and probe_at <= now()`,
		pgx.StrictNamedArgs{"credential": credential, "distance": distance})
	return tag.RowsAffected() > 0, err
}

// ReturnProbe makes the probe of a credential due now: it was claimed, but not made.
func ReturnProbe(ctx context.Context, q Querier, credential string) error {
	_, err := q.Exec(ctx, `update klingwatch.polling_pauses set probe_at = now() where credential = @credential`,
		pgx.StrictNamedArgs{"credential": credential})
	return err
}

// PrunePauses deletes the pauses that nobody has probed for longer than stale: their
// credential was replaced.
func PrunePauses(ctx context.Context, q Querier, stale time.Duration) error {
	_, err := q.Exec(ctx, `delete from klingwatch.polling_pauses where probe_at < now() - @stale::interval`,
		pgx.StrictNamedArgs{"stale": stale})
	return err
}

// ResumePolling deletes the pause of a credential: the relay accepts it again.
func ResumePolling(ctx context.Context, q Querier, credential string) error {
	_, err := q.Exec(ctx, `delete from klingwatch.polling_pauses where credential = @credential`,
		pgx.StrictNamedArgs{"credential": credential})
	return err
}

// Pauses returns the pauses in force, oldest first: those that somebody has probed
// within stale, or is about to.
func Pauses(ctx context.Context, q Querier, stale time.Duration) ([]Pause, error) {
	return all[Pause](ctx, q, `
		select credential,
		       reason,
		       paused_at,
		       probe_at
		from klingwatch.polling_pauses
		where probe_at > now() - @stale::interval
		order by paused_at`,
		pgx.StrictNamedArgs{"stale": stale})
}
