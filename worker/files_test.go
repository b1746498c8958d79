package worker

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/worker/fetch"
)

// withArchive has a worker keep files on disk.
func withArchive(t *testing.T, cfg Config) Config {
	t.Helper()
	store, err := archive.Open("file:"+t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Archive = &Archive{Store: store, Client: fetch.New(fetch.Config{AllowNetworks: loopback}), Tools: fetch.FindTools(t.Context())}
	return cfg
}

// kept are the states of the files of all tasks, and why they are so.
func kept(t *testing.T, cfg Config) (states []string) {
	t.Helper()
	rows, err := cfg.Pool.Query(t.Context(), `select coalesce(archive_state, 'none') || coalesce(' ' || archive_error, '') from klingwatch.outputs order by task, kind, position`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var state string
		if err := rows.Scan(&state); err != nil {
			t.Fatal(err)
		}
		states = append(states, state)
	}
	return states
}

// From the end of a task to its file in the store, and who is told.
func TestTheFilesOfTasksAreKeptByJobsOfTheirOwn(t *testing.T) {
	t.Parallel()
	_, relayURL := simulator(t)
	cfg := withArchive(t, config(t, dbtest.New(t), relayURL))
	var heard sync.Map
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard.Store(r.URL.Path, true) }))
	t.Cleanup(receiver.Close)
	callback := receiver.URL + "/callback"
	tracked, err := ledger.Track(t.Context(), cfg.Pool, []db.NewTask{{TaskID: "ok-1", Action: "images", Action2: "omni-image", CallbackURL: &callback}, {TaskID: "ok-2", Action: "videos", Action2: "text2video"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.Pool.Exec(t.Context(), `update klingwatch.tasks set archive = false where id = $1`, tracked[1].ID); err != nil {
		t.Fatal(err)
	}
	startWorker(t, cfg)
	await(t, "four pictures of one task are kept, the video of the other is not", func() bool {
		return strings.Join(kept(t, cfg), " ") == "stored stored stored stored none"
	})
	await(t, "the callback is told of the end", func() bool { _, ok := heard.Load("/callback"); return ok })
	var events string
	if err := cfg.Pool.QueryRow(t.Context(), `select string_agg(type, ' ' order by sequence) from klingwatch.events where task = $1`, tracked[0].ID).Scan(&events); err != nil || !strings.HasSuffix(events, "task.succeeded task.archived") {
		t.Errorf("the events are %s, %v", events, err)
	}
}

// The relay has deleted a file already: it is asked where the file is now. A job that is
// gone, as after a restore, is made again.
func TestAFileThatTheRelayHasClearedIsAskedForAgain(t *testing.T) {
	t.Parallel()
	relay, relayURL := simulator(t, func(c *klingsim.Config) { c.FileLife = time.Nanosecond })
	cfg := withArchive(t, config(t, dbtest.New(t), relayURL))
	if _, err := ledger.Track(t.Context(), cfg.Pool, []db.NewTask{{TaskID: "ok-1", Action: "images", Action2: "generations"}}, nil); err != nil {
		t.Fatal(err)
	}
	startWorker(t, cfg)
	await(t, "the file is lost, after the relay was asked again", func() bool {
		states := kept(t, cfg)
		return len(states) == 1 && strings.HasPrefix(states[0], "lost given up ") && strings.Contains(states[0], "HTTP 404")
	})
	asked := relay.Requests()
	var polls int
	if err := cfg.Pool.QueryRow(context.Background(), `select polls from klingwatch.tasks`).Scan(&polls); err != nil || asked <= polls {
		t.Errorf("the relay was asked %d times, for %d polls (%v)", asked, polls, err)
	}
}
