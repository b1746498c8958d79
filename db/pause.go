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
	Relays     []string      `json:"relays"`     // asked with it
	Credential string        `json:"credential"` // fingerprint of host and key
	Reason     string        `json:"reason"`     // what the relay answered
	PausedAt   time.Time     `json:"paused_at"`
	ProbeAt    time.Time     `json:"probe_at"` // when one process may ask again
	Confirmed  bool          `json:"-"`        // false: the other processes may still object, and nothing is paused
	Age        time.Duration `json:"-"`        // since PausedAt, by the database's clock
}

// PausePolling writes that the relay refuses a credential, with a first probe after
// probeIn. It returns true for the first caller to report that. One that is not
// confirmed pauses nothing: the other processes may object. A pause that nobody
// has probed for longer than stale is over: it begins anew.
func PausePolling(ctx context.Context, q Querier, credential, reason string, probeIn, stale time.Duration, confirmed bool) (first bool, err error) {
	tag, err := q.Exec(ctx, `
		insert into klingwatch.polling_pauses as p (credential, reason, probe_at, confirmed)
		values (@credential, @reason, now() + @probe_in::interval, @confirmed)
		on conflict (credential) do update
		set reason = excluded.reason,
		    paused_at = now(),
		    probe_at = excluded.probe_at,
		    confirmed = excluded.confirmed
		where p.probe_at <= now() - @stale::interval or excluded.confirmed and not p.confirmed`,
		pgx.StrictNamedArgs{"credential": credential, "reason": reason, "probe_in": probeIn, "stale": stale, "confirmed": confirmed})
	return tag.RowsAffected() > 0, err
}

// ClaimProbe returns true to one caller of all processes when the probe of a paused
// credential is due, and plans the next one after distance. One that is further away
// than that is due as well: the clock has gone back.
func ClaimProbe(ctx context.Context, q Querier, credential string, distance time.Duration) (claimed bool, err error) {
	tag, err := q.Exec(ctx, `
		update klingwatch.polling_pauses
		set probe_at = now() + @distance::interval
		where credential = @credential and confirmed
		  and (probe_at <= now() or probe_at > now() + @distance::interval + @slack::interval)`,
		pgx.StrictNamedArgs{"credential": credential, "distance": distance, "slack": clockSlack})
	return tag.RowsAffected() > 0, err
}

// ConfirmPause makes a pause hold to which no process has objected. It returns true
// for the first caller.
func ConfirmPause(ctx context.Context, q Querier, credential string) (first bool, err error) {
	tag, err := q.Exec(ctx, `update klingwatch.polling_pauses set confirmed = true where credential = @credential and not confirmed`,
		pgx.StrictNamedArgs{"credential": credential})
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

// DropPause deletes the pause of a credential that no relay has any more.
func DropPause(ctx context.Context, q Querier, credential string) error {
	_, err := q.Exec(ctx, `
		delete from klingwatch.polling_pauses
		where credential = @credential and not exists (select from klingwatch.relays r where r.credential = @credential)`,
		pgx.StrictNamedArgs{"credential": credential})
	return err
}

// HastenProbe makes the next probe of a paused credential due within a time.
func HastenProbe(ctx context.Context, q Querier, credential string, within time.Duration) error {
	_, err := q.Exec(ctx, `
		update klingwatch.polling_pauses
		set probe_at = now() + @within::interval
		where credential = @credential and confirmed and probe_at > now() + @within::interval`,
		pgx.StrictNamedArgs{"credential": credential, "within": within})
	return err
}

// PausesOf is Pauses for credentials, whether relays have them or not; it leaves Relays
// empty. A process may ask with a key that its relay's row does not name any more.
func PausesOf(ctx context.Context, q Querier, credentials []string, stale time.Duration) ([]Pause, error) {
	return all[Pause](ctx, q, `
		select credential,
		       reason,
		       paused_at,
		       probe_at,
		       confirmed,
		       now() - paused_at as age,
		       '{}'::text[] as relays
		from klingwatch.polling_pauses
		where credential = any (@credentials) and probe_at > now() - @stale::interval`,
		pgx.StrictNamedArgs{"credentials": credentials, "stale": stale})
}

// Pauses returns the pauses of the credentials of relays, oldest first: those that
// somebody has probed within stale, or is about to.
func Pauses(ctx context.Context, q Querier, stale time.Duration) ([]Pause, error) {
	return all[Pause](ctx, q, `
		select credential,
		       reason,
		       paused_at,
		       probe_at,
		       confirmed,
		       now() - paused_at as age,
		       array_agg(r.name order by r.name) as relays
		from klingwatch.polling_pauses
		join klingwatch.relays r using (credential)
		where probe_at > now() - @stale::interval
		group by credential, reason, paused_at, probe_at, confirmed
		order by paused_at`,
		pgx.StrictNamedArgs{"stale": stale})
}
