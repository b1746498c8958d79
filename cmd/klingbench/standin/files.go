package standin

import (
	"context"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// FilePlan is how the file host behaves.
type FilePlan struct {
	Hosts  int   // addresses that serve the same files
	Resets int   // of so many requests one is reset on its way; 0: none
	Rate   int64 // bytes per second of each request; 0: as fast as it goes
}

// FileCounts is what the file host has seen.
type FileCounts struct {
	Requests int64
	Resets   int64 // requests that were reset
	Peak     int64 // most that were open at once
	Bytes    int64 // of files that were sent
}

// Files is the host of files, seen from the parent.
type Files struct {
	*process.Child
	urls []string
}

// Open begins to serve as planned.
func (f *Files) Open(ctx context.Context, plan FilePlan) error {
	return f.Call(ctx, "Open", plan, &f.urls)
}

// URL is where a file is; the hosts take turns.
func (f *Files) URL(file File) string { return f.urls[file.Number%len(f.urls)] + file.name() }

// Counts returns what was seen so far.
func (f *Files) Counts(ctx context.Context) (FileCounts, error) {
	return process.Ask[FileCounts](ctx, f.Child, "Counts")
}
