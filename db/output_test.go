package db_test

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/lookback"
)

func TestOutputsAreKeptInOrderAndReplaced(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "a", "b")
	expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	video := db.Output{Task: ids[0], Kind: "video", URL: "https://a.example/1.mp4", UpstreamID: new("v1"), DurationSeconds: new(json.Number("5.041")),
		WatermarkURL: new("https://a.example/1w.mp4"), ExpiresAt: &expires}
	images := []db.Output{{Task: ids[0], Kind: "image", URL: "https://a.example/0.png"}, {Task: ids[0], Kind: "image", Position: 1, URL: "https://a.example/1.png"}}
	other := db.Output{Task: ids[1], Kind: "audio", URL: "https://a.example/2.mp3"}
	check(t, db.AddOutputs(t.Context(), pool, []db.Output{video, images[1], other, images[0]}, false))
	check(t, db.AddOutputs(t.Context(), pool, nil, false))
	if got := must(db.OutputsOfTask(t.Context(), pool, ids[0]))(t); !reflect.DeepEqual(got, []db.Output{images[0], images[1], video}) {
		t.Errorf("outputs %+v", got)
	}
	other.URL = "https://a.example/3.mp3"
	check(t, db.AddOutputs(t.Context(), pool, []db.Output{other}, false))
	if got := must(db.OutputsOfTask(t.Context(), pool, ids[1]))(t); len(got) != 1 || got[0].URL != other.URL {
		t.Errorf("an output a second time: %+v", got)
	}
	other.Position, other.DurationSeconds = 1, new(json.Number("long"))
	if err := db.AddOutputs(t.Context(), pool, []db.Output{other}, false); err == nil {
		t.Error("a duration that is no number was accepted")
	}
	check(t, db.RemoveOutputs(t.Context(), pool, ids[:1]))
	if a, b := must(db.OutputsOfTask(t.Context(), pool, ids[0]))(t), must(db.OutputsOfTask(t.Context(), pool, ids[1]))(t); len(a) != 0 || len(b) != 1 {
		t.Errorf("after removing those of the first task: %+v, %+v", a, b)
	}
}

func TestFilesThatExpireSoonAreCounted(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "a", "b")
	in := func(d time.Duration) *time.Time { return new(time.Now().Add(d).Truncate(time.Microsecond)) }
	if got := must(db.ExpiringOutputs(t.Context(), pool, time.Hour))(t); got != (db.Expiring{}) {
		t.Errorf("without outputs: %+v", got)
	}
	first := in(10 * time.Minute)
	check(t, db.AddOutputs(t.Context(), pool, []db.Output{
		{Task: ids[0], Kind: "image", Position: 0, URL: "https://a.example/0", ExpiresAt: in(30 * time.Minute)},
		{Task: ids[0], Kind: "image", Position: 1, URL: "https://a.example/1", ExpiresAt: first},
		{Task: ids[1], Kind: "image", Position: 0, URL: "https://a.example/2", ExpiresAt: in(30 * time.Minute)},
		{Task: ids[1], Kind: "image", Position: 1, URL: "https://a.example/3", ExpiresAt: in(-time.Minute)},
		{Task: ids[1], Kind: "image", Position: 2, URL: "https://a.example/4", ExpiresAt: in(2 * time.Hour)},
		{Task: ids[1], Kind: "image", Position: 3, URL: "https://a.example/5"},
	}, false))
	if got := must(db.ExpiringOutputs(t.Context(), pool, time.Hour))(t); got.Outputs != 3 || got.Tasks != 2 || !got.First.Equal(*first) {
		t.Errorf("within an hour: %+v", got)
	}
}

func TestOutputsAreListedByTask(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "a", "b", "c")
	soon := time.Now().Add(time.Hour)
	check(t, db.AddOutputs(t.Context(), pool, []db.Output{
		{Task: ids[0], Kind: "image", URL: "https://cdn.example/1"}, {Task: ids[0], Kind: "image", Position: 1, URL: "https://cdn.example/2"},
		{Task: ids[2], Kind: "video", URL: "https://cdn.example/3", ExpiresAt: &soon}, {Task: ids[2], Kind: "image", URL: "https://cdn.example/4"},
	}, false))
	run(t, pool, `update klingwatch.tasks set app = 'shop', external_id = 'order-1' where id = $1`, ids[0])
	check(t, db.AddOutputs(t.Context(), pool, []db.Output{{Task: ids[1], Kind: "audio", URL: "https://cdn.example/5"}}, true))
	for name, c := range map[string]struct {
		choice db.OutputChoice
		want   string
	}{
		"all":            {db.OutputChoice{}, "4 3 5 1 2 "},
		"by kind":        {db.OutputChoice{Kind: "video"}, "3 "},
		"by app":         {db.OutputChoice{Tasks: db.TaskChoice{App: "shop"}}, "1 2 "},
		"by external id": {db.OutputChoice{Tasks: db.TaskChoice{ExternalID: "order-1"}}, "1 2 "},
		"by relay":       {db.OutputChoice{Tasks: db.TaskChoice{Relay: "nowhere"}}, ""},
		"expiring":       {db.OutputChoice{Expiring: time.Now().Add(2 * time.Hour)}, "3 "},
		"to be fetched":  {db.OutputChoice{Archive: db.ArchivePending}, "5 "},
		"not asked for":  {db.OutputChoice{Archive: db.ArchiveNone}, "4 3 1 2 "},
		"lost":           {db.OutputChoice{Archive: db.ArchiveLost}, ""},
		"not yet":        {db.OutputChoice{Expiring: time.Now().Add(time.Minute)}, ""},
	} {
		got := ""
		for s := (lookback.Search{Limit: 1}); ; {
			page := must(db.ListOutputs(t.Context(), pool, c.choice, s))(t)
			for _, o := range page.Items {
				got += strings.TrimPrefix(o.URL, "https://cdn.example/") + " "
			}
			if s.Before = page.Next; s.Before == 0 {
				break
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	counted := map[string]int64{}
	for _, c := range must(db.CountOutputs(t.Context(), pool, db.OutputChoice{Tasks: db.TaskChoice{Since: time.Now().Add(-time.Hour)}}))(t) {
		state := db.ArchiveNone
		if c.State != nil {
			state = *c.State
		}
		counted[state] = c.Files
	}
	if want := map[string]int64{db.ArchiveNone: 4, db.ArchivePending: 1}; !maps.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
	if got := must(db.GetOutput(t.Context(), pool, ids[0], "image", 1))(t); got.URL != "https://cdn.example/2" || got.App != "shop" || *got.ExternalID != "order-1" {
		t.Errorf("one of them: %+v", got)
	}
	if _, err := db.GetOutput(t.Context(), pool, ids[0], "image", 2); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("one that there is not: %v", err)
	}
}
