package operate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

// Processes counts the processes that work on the database now.
func Processes(ctx context.Context, pool *pgxpool.Pool) (int, error) {
	n, err := db.LiveInstances(ctx, pool)
	if err != nil {
		return 0, fmt.Errorf("looking for a working service: %w", err)
	}
	return n, nil
}

// Paused returns the pause of a credential, named by its fingerprint, or for ""
// any pause; nil where polling is not paused.
func Paused(ctx context.Context, pool *pgxpool.Pool, credential string) (*db.Pause, error) {
	pauses, err := db.Pauses(ctx, pool, db.PauseStale)
	if err != nil {
		return nil, fmt.Errorf("reading the pauses: %w", err)
	}
	for _, p := range pauses {
		if credential == "" || credential == p.Credential {
			return &p, nil
		}
	}
	return nil, nil
}
