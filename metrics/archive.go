package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The outcomes of fetching a file: the values of the label of Archive.ArchivedFiles.
const (
	ArchiveStored  = "stored"
	ArchiveLost    = "lost"    // given up
	ArchiveSkipped = "skipped" // too large
	ArchiveFailed  = "failed"  // tried again later
)

// ArchiveOutcomes are all of them.
var ArchiveOutcomes = []string{ArchiveStored, ArchiveLost, ArchiveSkipped, ArchiveFailed}

// Archive has the metrics of kept files. The gauges are read from the database.
type Archive struct {
	ArchivedFiles   *prometheus.CounterVec // by outcome: ArchiveOutcomes
	ArchivedBytes   prometheus.Counter     // of stored files
	ArchiveSeconds  prometheus.Histogram   // from the end of the task until its file is stored
	ArchiveWaiting  prometheus.Gauge       // files that are to be fetched
	ArchiveOldest   prometheus.Gauge       // seconds since the oldest of them was asked for
	ArchiveExpiring prometheus.Gauge       // files that are not stored and expire within a day
}

func newArchive(auto promauto.Factory) Archive {
	return Archive{
		ArchivedFiles: counters(auto, "klingwatch_archive_files_total",
			"Files of tasks fetched to be kept, by outcome: lost ones were given up, skipped ones are larger than what is kept, failed ones are tried again.", "outcome", ArchiveOutcomes),
		ArchivedBytes: counter(auto, "klingwatch_archive_bytes_total",
			"Size of the files that were stored."),
		ArchiveSeconds: histogram(auto, "klingwatch_archive_seconds",
			"Time from the end of a task until its file is stored.", append(slices.Clone(waitBuckets), 3600, 6*3600, 24*3600)),
		ArchiveWaiting: gauge(auto, "klingwatch_archive_waiting",
			"Files that are to be kept and are not stored yet."+shared),
		ArchiveOldest: gauge(auto, "klingwatch_archive_oldest_waiting_seconds",
			"Time since the oldest of these files was asked for; 0 when none waits."+shared),
		ArchiveExpiring: gauge(auto, "klingwatch_archive_expiring",
			"Files that are to be kept, are not stored 15 minutes after the end of their task, and expire within a day, lost ones as well."+shared),
	}
}

// CountFile counts a try to fetch a file; bytes and sinceEnd, from the end of its task, are
// those of one that was stored.
func (a *Archive) CountFile(outcome string, bytes int64, sinceEnd time.Duration) {
	a.ArchivedFiles.WithLabelValues(outcome).Inc()
	if outcome == ArchiveStored {
		a.ArchivedBytes.Add(float64(bytes))
		a.ArchiveSeconds.Observe(sinceEnd.Seconds())
	}
}
