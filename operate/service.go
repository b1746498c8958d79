package operate

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

// Processes counts the processes that work on the database now.
func Processes(ctx context.Context, pool *pgxpool.Pool) (int, error) {
	n, err := db.LiveInstances(ctx, pool)
	if err != nil {
		return 0, fmt.Errorf("looking for a working service: %w", err)
	}
	return n, nil
}

// UnservedPaths returns the paths of open tasks whose last answer was not a relay's:
// the address, the prefix or the path is wrong.
func UnservedPaths(ctx context.Context, pool *pgxpool.Pool) ([]db.TroubledPath, error) {
	paths, err := db.TroubledPaths(ctx, pool, string(klingapi.Misconfigured))
	if err != nil {
		return nil, fmt.Errorf("looking for paths that are not served: %w", err)
	}
	return paths, nil
}

// Pauses returns the credentials that relays refuse, so that nothing is asked with them;
// none to an app, which may not read them.
func Pauses(ctx context.Context, pool *pgxpool.Pool) ([]db.Pause, error) {
	may, err := db.MayRead(ctx, pool, "polling_pauses")
	var pauses []db.Pause
	if may {
		pauses, err = db.Pauses(ctx, pool, db.PauseStale)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the pauses: %w", err)
	}
	return slices.DeleteFunc(pauses, func(p db.Pause) bool { return !p.Confirmed }), nil
}
