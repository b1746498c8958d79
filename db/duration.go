package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Lifetime is how long a task ran, or has run so far.
type Lifetime struct {
	Action  string
	Action2 string
	Age     time.Duration // from the insertion to the end at the provider, else to now
	Ended   bool          // the provider ended it; else it runs, or we stopped looking
}

// RecentLifetimes returns how long tasks ran that were inserted since a time,
// looking at the newest ones: at most window of them, and of each type the newest limit that have ended and
// the newest limit that have not. A type that many newer tasks of others, or of
// its own that still run, follow is thus not forgotten. The end is the
// provider's where its two times make sense: we notice it a little later.
func RecentLifetimes(ctx context.Context, q Querier, since time.Duration, window, limit int) ([]Lifetime, error) {
	return all[Lifetime](ctx, q, `
		with recent as (
			select action,
			       action2,
			       status,
			       created_at,
			       finished_at,
			       upstream_created_at,
			       upstream_updated_at,
			       retried_at,
			       row_number() over (partition by action, action2, finished_at is null order by id desc) as nth
			from klingwatch.tasks
			where id > (select max(id) from klingwatch.tasks) - @window
		)
		select action,
		       action2,
		       case when status not in ('succeeded', 'failed') then coalesce(finished_at, now()) - created_at
		            when upstream_updated_at > upstream_created_at
		                 and upstream_updated_at - upstream_created_at <= finished_at - created_at
		            then upstream_updated_at - upstream_created_at
		            else finished_at - created_at
		       end as age,
		       status in ('succeeded', 'failed') as ended
		from recent
		where nth <= @limit
		  and status in ('pending', 'submitted', 'processing', 'succeeded', 'failed', 'expired')
		  and retried_at is null
		  and created_at > now() - @since::interval`,
		pgx.StrictNamedArgs{"since": since, "window": window, "limit": limit})
}
