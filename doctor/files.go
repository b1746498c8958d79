package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/readable"
)

const (
	// A clip in 4K is some hundred megabytes, and eight are fetched at once.
	archiveWarn = 10 << 30
	archiveBad  = 1 << 30
	// S3 refuses requests that are signed 15 minutes too early or too late.
	storeClockWarn = time.Minute
)

// checkArchive puts a small file into the store, reads it and removes it.
func (x *examination) checkArchive(ctx context.Context) (Finding, error) {
	if x.StoreErr != nil {
		return bad("correct KLINGWATCH_ARCHIVE; docs/archive.md shows what it may be", "files cannot be kept: %v", x.StoreErr), nil
	}
	if x.Store == nil {
		return fine("files are not kept; KLINGWATCH_ARCHIVE says where they would be"), nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	health, err := x.Store.Check(ctx)
	if err != nil {
		return bad("files wait until the store works again: see to it before they expire", "%s: %v", x.Store, err), nil
	}
	return judgeArchive(x.Store.String(), health), nil
}

// judgeArchive warns where a store that works will not for long.
func judgeArchive(name string, health archive.Health) Finding {
	found := name + " takes files, gives them back and removes them"
	if health.Free >= 0 {
		found += fmt.Sprintf(", %s are free", readable.Bytes(health.Free))
	}
	switch away := health.ClockAway.Abs(); {
	case health.Free >= 0 && health.Free < archiveBad:
		return bad("make room, or set KLINGWATCH_ARCHIVE_RETENTION", "%s", found)
	case away > storeClockWarn:
		return warn("set the clocks by NTP: a store refuses signatures that are 15 minutes away", "%s; its clock is %s away from ours", found, readable.Duration(away))
	case health.Free >= 0 && health.Free < archiveWarn:
		return warn("make room, or set KLINGWATCH_ARCHIVE_RETENTION", "%s", found)
	}
	return fine("%s", found)
}

// checkFilms looks for the programs that measure videos and make their thumbnails.
func (x *examination) checkFilms(context.Context) (Finding, error) {
	switch {
	case x.Store == nil:
		return fine("not needed: files are not kept"), nil
	case x.FilmTools == "":
		return warn("install ffmpeg where klingwatch serve runs (Debian: apt-get install ffmpeg)", "ffmpeg and ffprobe are not installed here: videos have no thumbnail, width and height"), nil
	}
	return fine("ffmpeg %s makes the thumbnails of videos", x.FilmTools), nil
}
