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

// spoolAge is from when a spool file, or an upload, is one that a killed process left: no
// download goes on for so long without a byte.
const spoolAge = time.Hour

// RemoveUnused removes the files that no row tells of any more from the store, until none
// is left. Each is removed while its note is locked, so that nobody stores it anew
// meanwhile, and what broke off is done again.
func RemoveUnused(ctx context.Context, pool *pgxpool.Pool, store archive.Store) (removed int, err error) {
	for ; ctx.Err() == nil; removed++ {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			file, err := db.LockRemovable(ctx, tx)
			if err != nil {
				return err
			}
			if err := errors.Join(store.Remove(ctx, file.Key), store.Remove(ctx, ThumbnailKey(file.Key))); err != nil {
				return err
			}
			return db.Removed(ctx, tx, file.Key)
		})
		if errors.Is(err, db.ErrNotFound) {
			break
		}
		if err != nil {
			return removed, fmt.Errorf("removing files that are not used any more: %w", err)
		}
	}
	if err := db.ForgetRemovals(ctx, pool); err != nil {
		return removed, fmt.Errorf("forgetting files that are used: %w", err)
	}
	return removed, ctx.Err()
}

// CleanUp removes what killed processes left of files on their way.
func CleanUp(ctx context.Context, store archive.Store) error {
	if _, err := store.CleanSpool(ctx, spoolAge); err != nil {
		return fmt.Errorf("removing what was left in the spool of the archive: %w", err)
	}
	return nil
}
