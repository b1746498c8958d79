package completions

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestLatencyCountsFromTheCommitsReturnUnlessTheWebhookWasQuicker(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	begun := time.Now()
	c := Completion{Committing: begun, Committed: begun.Add(5 * ms)}
	for arrived, want := range map[time.Duration]time.Duration{9 * ms: 4 * ms, 3 * ms: 3 * ms} {
		if got := c.Latency(begun.Add(arrived).UnixNano()); got != want {
			t.Errorf("an arrival %s after the commit was sent counts as %s, want %s", arrived, got, want)
		}
	}
}

func TestOnlyACommitIsTraced(t *testing.T) {
	t.Parallel()
	var at time.Time
	ctx := withCommit(t.Context(), &at)
	commitTracer{}.TraceQueryStart(ctx, nil, pgx.TraceQueryStartData{SQL: "begin"})
	if !at.IsZero() {
		t.Error("a begin was taken for a commit")
	}
	commitTracer{}.TraceQueryStart(t.Context(), nil, pgx.TraceQueryStartData{SQL: "commit"})
	if !at.IsZero() {
		t.Error("the commit of another was noted")
	}
	commitTracer{}.TraceQueryStart(ctx, nil, pgx.TraceQueryStartData{SQL: "commit"})
	if at.IsZero() {
		t.Error("the commit was not noted")
	}
}
