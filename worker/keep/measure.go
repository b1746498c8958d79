package keep

import (
	"context"
	"errors"
	"io"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/worker/fetch"
)

// measure finds out what can be known of a file, and stores its thumbnail.
func (k *Keeper) measure(ctx context.Context, p *parcel) (err error) {
	if p.small, err = k.spool(); err != nil {
		return err
	}
	measured, thumbnail, err := k.Tools.Measure(ctx, p.fetched, p.local, p.small)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k.Log.Debug("a file is kept without all that could be known of it", "task", p.target.Task, "kind", p.target.Kind, "position", p.target.Position, "reason", outbound.LogLine(err.Error()))
	}
	p.measured = true
	addMeasures(&p.stored, measured)
	if thumbnail.Bytes == 0 {
		return nil
	}
	key := ThumbnailKey(p.stored.Key)
	err = k.Store.Put(ctx, key, p.small, archive.Info{Size: thumbnail.Bytes, SHA256: thumbnail.SHA256, ContentType: thumbnail.ContentType})
	if err != nil && !errors.Is(err, archive.ErrTaken) { // another version of ffmpeg may have made the one that is there
		return err
	}
	p.stored.ThumbnailKey = &key
	return nil
}

// measureLate measures a file that is stored already. What goes wrong is logged: the file
// is safe.
func (k *Keeper) measureLate(ctx context.Context, p *parcel) error {
	err := k.measure(ctx, p)
	if err == nil {
		if err = db.RecordMeasured(ctx, k.Pool, p.stored); errors.Is(err, db.ErrNotFound) {
			return db.ClaimFile(ctx, k.Pool, p.stored.Key, 0) // the file went meanwhile: its thumbnail goes, too
		}
	}
	if ctx.Err() != nil {
		return ctx.Err() // the job comes back
	}
	if err != nil {
		k.Log.Warn("a file is kept without a thumbnail", "task", p.target.Task, "kind", p.target.Kind, "position", p.target.Position, "reason", outbound.LogLine(err.Error()))
	}
	return nil
}

// measureStored measures a file whose process ended before that.
func (k *Keeper) measureStored(ctx context.Context, t db.ArchiveTarget) error {
	if t.Kind != "video" || !k.Tools.Installed() {
		return nil
	}
	file, err := k.Store.Open(ctx, *t.Key)
	if err != nil {
		return ctx.Err() // as it is: the file is not to be had just now, or gone
	}
	defer file.Close()
	p := parcel{target: t, stored: db.StoredFile{ID: t.ID, Key: *t.Key}, fetched: fetch.File{ContentType: "video/mp4"}}
	defer p.discard()
	if p.local, err = k.spool(); err == nil {
		_, err = io.Copy(p.local, file)
	}
	if err != nil {
		return ctx.Err()
	}
	return k.measureLate(ctx, &p)
}
