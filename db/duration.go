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

// RecentLifetimes returns the newest tasks' lifetimes, at most limit. The end
// is the provider's where its two times make sense: we notice it a little later.
func RecentLifetimes(ctx context.Context, q Querier, limit int) ([]Lifetime, error) {
	return all[Lifetime](ctx, q, `
		select action,
		       action2,
		       case when status not in ('succeeded', 'failed') then coalesce(finished_at, now()) - created_at
		            when upstream_updated_at > upstream_created_at
		                 and upstream_updated_at - upstream_created_at <= finished_at - created_at
		            then upstream_updated_at - upstream_created_at
		            else finished_at - created_at
		       end as age,
		       status in ('succeeded', 'failed') as ended
		from (select * from klingwatch.tasks order by id desc limit @limit) t
		where status in ('pending', 'submitted', 'processing', 'succeeded', 'failed', 'expired')
		  and retried_at is null
		  and created_at > now() - interval '30 days'`,
		pgx.StrictNamedArgs{"limit": limit})
}
