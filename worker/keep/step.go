package keep

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/worker/fetch"
)

const (
	// firstWait is before the second try; each later one is twice as long.
	firstWait   = 5 * time.Second
	longestWait = 30 * time.Minute
)

// step is what comes after a failure.
type step struct {
	renew bool          // the relay is asked for a new URL; the rest is for when it gives none
	state string        // of the file: pending, lost or skipped
	wait  time.Duration // before the next try of one that is pending
	why   string        // what stands before the reason of one that is given up
}

// grace is how long it is tried beyond the time at which the provider was to delete a file:
// that is an estimate, and the trouble may be ours.
const grace = 24 * time.Hour

// after decides what comes after a failure. A file is given up when it is too large, or when
// the provider was to delete it, and refuses it under a new URL as well, or a day has passed
// since. Whatever else is wrong may be mended in time: the host, the store, our settings.
func after(t db.ArchiveTarget, failure error) step {
	var refused *fetch.Error
	if errors.As(failure, &refused) && refused.Reason == fetch.TooLarge {
		return step{state: db.ArchiveSkipped}
	}
	next, left := step{state: db.ArchivePending, wait: jittered(waitAfter(t))}, leftOf(t)
	gone := refused != nil && refused.Reason == fetch.Gone
	next.renew = gone && !t.Refreshed
	if refused != nil && refused.RetryAfter > next.wait {
		next.wait = min(refused.RetryAfter, max(next.wait, left/4)) // not beyond the file's end
	}
	if left <= 0 && gone && t.Refreshed || left <= -grace {
		next.state, next.why = db.ArchiveLost, fmt.Sprintf("given up %s after the provider was to delete it: ", -left.Round(time.Second))
	}
	return next
}

// usualLife is how long Kling keeps files.
const usualLife = 30 * 24 * time.Hour

// leftOf is how long the provider keeps a file from now on.
func leftOf(t db.ArchiveTarget) time.Duration {
	if t.ExpiresIn == nil {
		return usualLife - time.Duration(t.EndedAgo*float64(time.Second))
	}
	return time.Duration(*t.ExpiresIn * float64(time.Second))
}

// waitAfter is the wait before the next try: the less time is left, the shorter.
func waitAfter(t db.ArchiveTarget) time.Duration {
	wait := longestWait
	if t.Attempts < 10 {
		wait = min(wait, firstWait<<t.Attempts)
	}
	if left := leftOf(t); left > 0 {
		wait = max(firstWait, min(wait, left/4))
	}
	return wait
}

// jittered spreads waits over a fifth of their length.
func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}

// expiryOf is when the provider deletes a file, by our clock; zero: unknown.
func expiryOf(t db.ArchiveTarget, now time.Time) time.Time {
	if t.ExpiresIn == nil {
		return time.Time{}
	}
	return now.Add(time.Duration(*t.ExpiresIn * float64(time.Second)))
}

// storedFile is what is written down of a file that was fetched.
func storedFile(t db.ArchiveTarget, f fetch.File) db.StoredFile {
	return db.StoredFile{ID: t.ID, Key: keyOf(t, f), Bytes: f.Bytes, SHA256: f.SHA256, ContentType: f.ContentType}
}

// addMeasures adds what was found out by looking into a file.
func addMeasures(stored *db.StoredFile, f fetch.File) {
	if f.Width > 0 && f.Height > 0 {
		stored.Width, stored.Height = &f.Width, &f.Height
	}
	if f.Duration > 0 {
		stored.Duration = new(f.Duration.Seconds())
	}
}

// keyOf names a file in the store, for people who look there: by relay, day and task.
func keyOf(t db.ArchiveTarget, f fetch.File) string {
	return fmt.Sprintf("%s/%s/%d/%s-%d-%s.%s", t.Relay, t.CreatedAt.UTC().Format("2006/01/02"), t.Task, t.Kind, t.Position, f.SHA256[:8], f.Ext)
}

// ThumbnailKey names the thumbnail of a file in the store.
func ThumbnailKey(key string) string { return strings.TrimSuffix(key, path.Ext(key)) + ".thumb.jpg" }
