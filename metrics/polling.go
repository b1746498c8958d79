package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// PollOutcomes are the outcomes of a poll.
var PollOutcomes = []string{"finished", "changed", "unchanged", "not_found", "refused", "throttled", "unreachable", "unreadable"}

// ChangeStatuses are the statuses that a task can change to.
var ChangeStatuses = []string{"submitted", "processing", "succeeded", "failed", "expired", "not_found", "canceled"}

// OtherPath counts all paths that are not in TaskPaths: tasks are inserted with any.
const OtherPath = "other"

// TaskPaths are the values of the label path: the documented action/action2, and OtherPath.
var TaskPaths = []string{
	"images/generations", "images/kolors-virtual-try-on", "images/omni-image", "images/multi-image2image", "images/editing/expand",
	"videos/text2video", "videos/image2video", "videos/multi-image2video", "videos/multi-elements", "videos/omni-video",
	"videos/motion-control", "videos/video-extend", "videos/lip-sync", "videos/advanced-lip-sync", "videos/effects",
	"videos/avatar/image2video", "general/ai-multi-shot", "audio/text-to-audio", "audio/video-to-audio",
	OtherPath,
}

// Polling has the metrics of this process's requests to relays. Times are in
// seconds.
type Polling struct {
	Polls           *prometheus.CounterVec // by relay, and outcome: PollOutcomes
	PollSeconds     prometheus.Histogram   // duration of one request to the relay
	PollLateness    prometheus.Histogram   // from the due time to the request
	RateWaitSeconds prometheus.Histogram   // wait of one poll for the rate limit
	UnknownWords    prometheus.Counter     // replies with a status word that is not in the table
	PollingPaused   *prometheus.GaugeVec   // by relay: 1 while its credential is refused
	RelayAsked      *prometheus.GaugeVec   // by relay: 1 while this process can ask it
	RefusedWrites   prometheus.Counter     // results of polls that Postgres refused to store
	StatusChanges   *prometheus.CounterVec // by status: ChangeStatuses
	TasksEnded      *prometheus.CounterVec // by path: TaskPaths; canceled ones are left out
	TasksFailed     *prometheus.CounterVec // by path: TaskPaths
}

func newPolling(auto promauto.Factory) Polling {
	p := Polling{
		Polls: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "klingwatch_polls_total", Help: "Tasks that relays were asked about, by relay and outcome."}, []string{"relay", "outcome"}),
		PollSeconds: histogram(auto, "klingwatch_poll_duration_seconds",
			"Duration of one request to the relay.", exchangeBuckets),
		PollLateness: histogram(auto, "klingwatch_poll_lateness_seconds",
			"Time from when a poll was due until it was sent. The rate limit, pauses and trouble at the relay make polls late.", waitBuckets),
		RateWaitSeconds: histogram(auto, "klingwatch_poll_rate_wait_seconds",
			"How long a due poll waited for the rate limit. The sum grows by nearly 1 per second while KLINGWATCH_POLL_RATE is the bottleneck.", exchangeBuckets),
		UnknownWords: counter(auto, "klingwatch_unknown_status_words_total",
			"Replies with a status word that klingwatch does not know; their tasks count as still running."),
		PollingPaused: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "klingwatch_polling_paused", Help: "1 while polling is paused because the relay refuses the credential, else 0."}, []string{"relay"}),
		RelayAsked: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "klingwatch_relay_asked", Help: "1 while this process can ask the relay, 0 while its key is missing here or the settings of this process name another relay."}, []string{"relay"}),
		RefusedWrites: counter(auto, "klingwatch_refused_writes_total",
			"Results of polls that Postgres refused to store as they were. They are stored in part where that is possible, and last_error of the task says so; else see klingwatch_failing_jobs."),
		StatusChanges: counters(auto, "klingwatch_status_changes_total",
			"Status changes of tasks that this process wrote, by new status.", "status", ChangeStatuses),
		TasksEnded: counters(auto, "klingwatch_tasks_ended_total",
			"Tasks that this process wrote as succeeded, failed, expired or not_found, by path; a late verdict counts again. other: paths that Kling does not document.", "path", TaskPaths),
		TasksFailed: counters(auto, "klingwatch_tasks_failed_total",
			"Those of klingwatch_tasks_ended_total that the provider ended as failed.", "path", TaskPaths),
	}
	p.AddRelay("default")
	return p
}

// AddRelay serves the metrics of a relay from now on.
func (p *Polling) AddRelay(relay string) {
	for _, outcome := range PollOutcomes {
		p.Polls.WithLabelValues(relay, outcome)
	}
	p.PollingPaused.WithLabelValues(relay)
	p.RelayAsked.WithLabelValues(relay)
}

// RemoveRelay no longer serves those of one that is gone.
func (p *Polling) RemoveRelay(relay string) {
	of := prometheus.Labels{"relay": relay}
	p.Polls.DeletePartialMatch(of)
	p.PollingPaused.DeletePartialMatch(of)
	p.RelayAsked.DeletePartialMatch(of)
}

// CountStatus counts a change of a task of a path, action/action2, to a status.
func (p *Polling) CountStatus(path, status string) {
	p.StatusChanges.WithLabelValues(status).Inc()
	if !slices.Contains(TaskPaths, path) {
		path = OtherPath
	}
	switch status {
	case "failed":
		p.TasksFailed.WithLabelValues(path).Inc()
		p.TasksEnded.WithLabelValues(path).Inc()
	case "succeeded", "expired", "not_found":
		p.TasksEnded.WithLabelValues(path).Inc()
	}
}
