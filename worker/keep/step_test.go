package keep

import (
	"errors"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/worker/fetch"
)

func TestWhatComesAfterAFailure(t *testing.T) {
	t.Parallel()
	left := func(d time.Duration) *float64 { return new(d.Seconds()) }
	trouble := &fetch.Error{Reason: fetch.Trouble}
	for name, c := range map[string]struct {
		target  db.ArchiveTarget
		failure error
		state   string
		wait    time.Duration // within a tenth; of one that is pending
		renew   bool
	}{
		"the first":                       {db.ArchiveTarget{ExpiresIn: left(24 * time.Hour)}, trouble, db.ArchivePending, 5 * time.Second, false},
		"the fourth":                      {db.ArchiveTarget{ExpiresIn: left(24 * time.Hour), Attempts: 3}, trouble, db.ArchivePending, 40 * time.Second, false},
		"the hundredth":                   {db.ArchiveTarget{ExpiresIn: left(24 * time.Hour), Attempts: 99}, trouble, db.ArchivePending, 30 * time.Minute, false},
		"with little time left":           {db.ArchiveTarget{ExpiresIn: left(4 * time.Minute), Attempts: 99}, trouble, db.ArchivePending, time.Minute, false},
		"in the last second":              {db.ArchiveTarget{ExpiresIn: left(time.Second), Attempts: 99}, trouble, db.ArchivePending, 5 * time.Second, false},
		"the host asks to stay away":      {db.ArchiveTarget{ExpiresIn: left(24 * time.Hour)}, &fetch.Error{Reason: fetch.Trouble, RetryAfter: time.Hour}, db.ArchivePending, time.Hour, false},
		"the store is full":               {db.ArchiveTarget{ExpiresIn: left(24 * time.Hour)}, errors.New("no space"), db.ArchivePending, 5 * time.Second, false},
		"nobody knows when it expires":    {db.ArchiveTarget{EndedAgo: (29 * 24 * time.Hour).Seconds(), Attempts: 99}, trouble, db.ArchivePending, 30 * time.Minute, false},
		"nor did anybody, for a month":    {db.ArchiveTarget{EndedAgo: (32 * 24 * time.Hour).Seconds()}, trouble, db.ArchiveLost, 0, false},
		"the URL is refused":              {db.ArchiveTarget{ExpiresIn: left(24 * time.Hour)}, &fetch.Error{Reason: fetch.Gone}, db.ArchivePending, 5 * time.Second, true},
		"the new URL is refused":          {db.ArchiveTarget{ExpiresIn: left(24 * time.Hour), Refreshed: true}, &fetch.Error{Reason: fetch.Gone}, db.ArchivePending, 5 * time.Second, false},
		"an expired URL is refused":       {db.ArchiveTarget{ExpiresIn: left(-time.Hour)}, &fetch.Error{Reason: fetch.Gone}, db.ArchivePending, 5 * time.Second, true},
		"too large":                       {db.ArchiveTarget{ExpiresIn: left(24 * time.Hour)}, &fetch.Error{Reason: fetch.TooLarge}, db.ArchiveSkipped, 0, false},
		"our own guard: it may be opened": {db.ArchiveTarget{ExpiresIn: left(24 * time.Hour)}, &fetch.Error{Reason: fetch.Forbidden}, db.ArchivePending, 5 * time.Second, false},
	} {
		got := after(c.target, c.failure)
		if got.state != c.state || got.renew != c.renew || got.state == db.ArchivePending && (got.wait < c.wait*9/10 || got.wait > c.wait*11/10) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
