package keep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
)

const (
	// spoolAge is from when a spool file, or an upload, is one that a killed process left.
	spoolAge = 24 * time.Hour
	// postponed is when a file is tried again that could not be removed.
	postponed = 10 * time.Minute
)

// RemoveUnused removes the files that no row tells of any more from the store, until none
// is left. Each is removed while its note is locked, so that nobody stores it anew
// meanwhile, and what broke off is done again.
func RemoveUnused(ctx context.Context, pool *pgxpool.Pool, store archive.Store) (removed int, err error) {
	var trouble error
	for ctx.Err() == nil {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			key, err := db.LockRemovable(ctx, tx)
			if err != nil {
				return err
			}
			if err := errors.Join(store.Remove(ctx, key), store.Remove(ctx, ThumbnailKey(key))); err != nil {
				trouble = err
				return db.PostponeRemoval(ctx, tx, key, postponed)
			}
			removed++
			return db.Removed(ctx, tx, key)
		})
		if errors.Is(err, db.ErrNotFound) {
			break
		}
		if err != nil {
			return removed, fmt.Errorf("removing files that are not used any more: %w", err)
		}
	}
	if trouble != nil {
		trouble = fmt.Errorf("removing files that are not used any more, again in %s: %w", postponed, trouble)
	}
	if err := db.ForgetRemovals(ctx, pool); err != nil {
		return removed, errors.Join(trouble, fmt.Errorf("forgetting files that are used: %w", err))
	}
	return removed, errors.Join(trouble, ctx.Err())
}

// CleanUp removes what killed processes left of files on their way.
func CleanUp(ctx context.Context, store archive.Store) error {
	if _, err := store.CleanSpool(ctx, spoolAge); err != nil {
		return fmt.Errorf("removing what was left in the spool of the archive: %w", err)
	}
	return nil
}
