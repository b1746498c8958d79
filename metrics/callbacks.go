package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// CallbackOutcomes are the outcomes of a callback of a relay.
var CallbackOutcomes = []string{"heeded", "known", "ended", "unknown", "unreadable", "unsigned", "refused", "too_many", "too_large", "troubled"}

// Callbacks has the metrics of what relays post to this process when a task changes.
type Callbacks struct {
	CallbacksTaken *prometheus.CounterVec // by outcome: CallbackOutcomes
}

func newCallbacks(auto promauto.Factory) Callbacks {
	return Callbacks{
		CallbacksTaken: counters(auto, "klingwatch_callbacks_total",
			"Callbacks of relays by outcome: heeded (the task is asked about), known (it says nothing new), ended or unknown (there is no such open task), or why they were refused. Polling never depends on them.",
			"outcome", CallbackOutcomes),
	}
}
