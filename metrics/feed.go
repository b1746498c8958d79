package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Listeners are the kinds of those who listen to the feed.
var Listeners = []string{ListenerStream, ListenerWait}

// The kinds of those who listen to the feed.
const (
	ListenerStream = "stream" // they get events as they come
	ListenerWait   = "wait"   // they wait for one task
)

// Feed has the metrics of events: how they get their order, and how this process tells them
// to those who listen. Times are in seconds.
type Feed struct {
	EventOrderWait prometheus.Histogram // from asking for the turn to write events to having it
	FeedListeners  *prometheus.GaugeVec // by kind: Listeners
	FeedEvents     prometheus.Counter   // events that were read to be told
	FeedLag        prometheus.Histogram // from the transaction of an event to its telling
	FeedSlow       prometheus.Counter   // streams that were ended because their client was too slow
	FeedReads      prometheus.Counter   // questions to the database
}

func newFeed(auto promauto.Factory) Feed {
	return Feed{
		EventOrderWait: histogram(auto, "klingwatch_event_order_wait_seconds",
			"How long a transaction waited for its turn to write events: their ids follow commits, so all that write events wait for each other.", exchangeBuckets),
		FeedListeners: gauges(auto, "klingwatch_feed_listeners",
			"Clients that listen to the feed of events in this process: streams, and requests that wait for a task.", "kind", Listeners),
		FeedEvents: counter(auto, "klingwatch_feed_events_total",
			"Events that this process read to tell them to streams and to those who wait; none while nobody listens."),
		FeedLag: histogram(auto, "klingwatch_feed_lag_seconds",
			"Time from the start of the transaction that wrote an event until this process had read it.", exchangeBuckets),
		FeedSlow: counter(auto, "klingwatch_feed_slow_total",
			"Streams that were ended because their client did not keep up; it comes back with its cursor."),
		FeedReads: counter(auto, "klingwatch_feed_reads_total",
			"Questions of the feed to the database for new events; none while nobody listens."),
	}
}

// ObserveOrderWait notes how long a transaction waited for its turn to write events.
func (f *Feed) ObserveOrderWait(wait time.Duration) { f.EventOrderWait.Observe(wait.Seconds()) }
