package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// PauseStale is when a pause that nobody probes is over: its credential is not
// in use any more. It is some times the distance of probes, a minute.
const PauseStale = 5 * time.Minute

// Pause is a row of klingwatch.polling_pauses.
type Pause struct {
	Credential string    `json:"credential"`
	Reason     string    `json:"reason"`
	PausedAt   time.Time `json:"paused_at"`
	ProbeAt    time.Time `json:"probe_at"`
}

// PausePolling writes that the relay refuses a credential. It returns true for
// the first to say so; probeIn is the distance to the first probe. A pause that
// nobody has probed for longer than stale is over and begins anew.
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

// ClaimProbe lets one caller of the deployment ask with a paused credential
// when a probe is due, and plans the next one after distance.
func ClaimProbe(ctx context.Context, q Querier, credential string, distance time.Duration) (claimed bool, err error) {
	tag, err := q.Exec(ctx, `
		update klingwatch.polling_pauses
		set probe_at = now() + @distance::interval
		where credential = @credential and probe_at <= now()`,
		pgx.StrictNamedArgs{"credential": credential, "distance": distance})
	return tag.RowsAffected() > 0, err
}

// ReturnProbe makes a probe that was claimed and not made due at once.
func ReturnProbe(ctx context.Context, q Querier, credential string) error {
	_, err := q.Exec(ctx, `update klingwatch.polling_pauses set probe_at = now() where credential = @credential`,
		pgx.StrictNamedArgs{"credential": credential})
	return err
}

// PrunePauses deletes the pauses that nobody has probed for longer than a time:
// their credential was replaced.
func PrunePauses(ctx context.Context, q Querier, stale time.Duration) error {
	_, err := q.Exec(ctx, `delete from klingwatch.polling_pauses where probe_at < now() - @stale::interval`,
		pgx.StrictNamedArgs{"stale": stale})
	return err
}

// ResumePolling forgets a pause.
func ResumePolling(ctx context.Context, q Querier, credential string) error {
	_, err := q.Exec(ctx, `delete from klingwatch.polling_pauses where credential = @credential`,
		pgx.StrictNamedArgs{"credential": credential})
	return err
}

// Pauses returns the pauses in force. A credential that nobody has probed for
// longer than stale is not in use any more.
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
