package keep_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/worker/fetch"
	"github.com/klingwatch/klingwatch/worker/keep"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// house is a Keeper with a store on disk and a database of its own.
type house struct {
	*testing.T
	pool   *pgxpool.Pool
	dir    string // of the store
	store  archive.Store
	keeper *keep.Keeper
	asked  atomic.Int32                // how often the relay was asked for new URLs
	now    func() ([]db.Output, error) // what it says; nil: that it knows no file
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{T: t, pool: dbtest.New(t)}
	var err error
	h.dir = t.TempDir()
	if h.store, err = archive.Open("file:"+h.dir, ""); err != nil {
		t.Fatal(err)
	}
	h.keeper = keep.New(keep.Config{
		Pool: h.pool, Store: h.store, Tools: fetch.FindTools(t.Context()), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), PublicURL: "https://kw.example", Deadline: time.Hour,
		Client: fetch.New(fetch.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, MaxBytes: 1 << 20, Stall: 5 * time.Second, Pause: time.Millisecond}),
	})
	return h
}

// Renew answers as the relay of the test.
func (h *house) Renew(context.Context, db.PollTarget) ([]db.Output, error) {
	h.asked.Add(1)
	if h.now == nil {
		return nil, errors.New("the relay knows no file")
	}
	return h.now()
}

// KeyFor is the key of the relay of the test.
func (h *house) KeyFor(string, string) http.Header {
	return http.Header{"Authorization": {"Bearer sk-test"}}
}

// host serves a file.
func (h *house) host(handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	h.Cleanup(server.Close)
	return server.URL
}

func serves(content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

// picture is a PNG; others have other shades.
func picture(t *testing.T, shade uint8) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 640, 360))
	for i := range img.Pix {
		img.Pix[i] = color.Gray{Y: shade}.Y
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// ended tracks a task that ends with pictures at URLs, and returns our id.
func (h *house) ended(taskID string, change func(*db.NewTask), urls ...string) int64 {
	h.Helper()
	n := db.NewTask{TaskID: taskID, Action: "images", Action2: "generations", CallbackURL: new("https://app.example/hook")}
	if change != nil {
		change(&n)
	}
	tracked, err := ledger.Track(h.Context(), h.pool, []db.NewTask{n}, nil)
	if err != nil {
		h.Fatal(err)
	}
	h.end(tracked[0].ID, urls...)
	return tracked[0].ID
}

// end has a task succeed with pictures that the provider deletes after an hour.
func (h *house) end(id int64, urls ...string) {
	h.Helper()
	task, err := db.GetPollTarget(h.Context(), h.pool, id, time.Hour)
	if err != nil {
		h.Fatal(err)
	}
	c := ledger.Change{Archive: true, Change: db.Change{
		Task: id, Created: task.CreatedAt, Version: task.Version, From: task.Status, Status: db.Succeeded, EndedBy: new(db.ByProvider), Polled: true,
	}}
	for i, url := range urls {
		c.Outputs = append(c.Outputs, db.Output{Task: id, Kind: "image", Position: i, URL: url, ExpiresAt: new(time.Now().Add(time.Hour))})
	}
	if applied, err := ledger.Apply(h.Context(), h.pool, []ledger.Change{c}, nil); err != nil || !applied[id] {
		h.Fatalf("the task did not end: %v", err)
	}
}

// count returns the number that a query finds.
func (h *house) count(sql string, args ...any) (n int) {
	h.Helper()
	if err := h.pool.QueryRow(h.Context(), sql, args...).Scan(&n); err != nil {
		h.Fatal(err)
	}
	return n
}

// numbers are the archive_ids of a task's files.
func (h *house) numbers(task int64) (ids []int64) {
	h.Helper()
	if err := h.pool.QueryRow(h.Context(), `select coalesce(array_agg(archive_id order by position) filter (where archive_id is not null), '{}') from klingwatch.outputs where task = $1`, task).Scan(&ids); err != nil {
		h.Fatal(err)
	}
	return ids
}

// keep tries once for each file of a task.
func (h *house) keep(task int64) (wait time.Duration, again bool) {
	h.Helper()
	for _, id := range h.numbers(task) {
		var err error
		if wait, again, err = h.keeper.Keep(h.Context(), h, id); err != nil {
			h.Fatal(err)
		}
	}
	return wait, again
}

func (h *house) outputs(task int64) []db.Output {
	h.Helper()
	list, err := db.OutputsOfTask(h.Context(), h.pool, task)
	if err != nil {
		h.Fatal(err)
	}
	return list
}

// events are the types of a task's events.
func (h *house) events(task int64) string {
	h.Helper()
	list, err := db.EventsOfTask(h.Context(), h.pool, task)
	if err != nil {
		h.Fatal(err)
	}
	var types []string
	for _, e := range list {
		types = append(types, strings.TrimPrefix(e.Type, "task."))
	}
	return strings.Join(types, " ")
}

// holds compares a file in the store.
func (h *house) holds(key string, content []byte) {
	h.Helper()
	file, err := h.store.Open(h.Context(), key)
	if err != nil {
		h.Fatal(err)
	}
	defer file.Close()
	if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, content) {
		h.Errorf("%s has %d bytes, not the %d of the file (%v)", key, len(got), len(content), err)
	}
}

// run runs a statement that sets up a test.
func (h *house) run(sql string, args ...any) {
	h.Helper()
	if _, err := h.pool.Exec(h.Context(), sql, args...); err != nil {
		h.Fatal(err)
	}
}

func TestTheFilesOfATaskAreKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	first, second := picture(t, 10), picture(t, 200)
	task := h.ended("t", func(n *db.NewTask) {}, h.host(serves(first)), h.host(serves(second)))
	h.run(`update klingwatch.tasks set callback_events = '{task.archived}' where id = $1`, task)
	ids := h.numbers(task)
	if _, again, err := h.keeper.Keep(t.Context(), h, ids[0]); err != nil || again {
		t.Fatalf("again %v, %v", again, err)
	}
	if got := h.events(task); got != "succeeded" {
		t.Errorf("after the first of two files there are %s", got)
	}
	h.keep(task) // the first again, which is nothing, and the second

	if got := h.events(task); got != "succeeded archived" {
		t.Errorf("the events are %s", got)
	}
	for i, content := range [][]byte{first, second} {
		o := h.outputs(task)[i]
		sum := sha256.Sum256(content)
		if *o.ArchiveState != db.ArchiveStored || *o.Bytes != int64(len(content)) || *o.SHA256 != hex.EncodeToString(sum[:]) || *o.ContentType != "image/png" ||
			*o.Width != 640 || *o.Height != 360 || o.ArchiveAttempts != 1 || o.ArchiveError != nil || o.ThumbnailKey == nil {
			t.Errorf("file %d is %+v", i, o.KeptFile)
		}
		if want := "/" + strconv.FormatInt(task, 10) + "/image-" + strconv.Itoa(i) + "-" + (*o.SHA256)[:8] + ".png"; !strings.HasPrefix(*o.ArchiveKey, "default/20") || !strings.HasSuffix(*o.ArchiveKey, want) {
			t.Errorf("the key is %s", *o.ArchiveKey)
		}
		h.holds(*o.ArchiveKey, content)
	}
	var payload struct {
		Data struct {
			Status   string
			Sequence int
			Outputs  []struct {
				Archive struct {
					State        string
					URL          string
					ThumbnailURL string `json:"thumbnail_url"`
				}
			}
		}
	}
	var body string
	var delivered int
	if err := h.pool.QueryRow(t.Context(), `select payload, (select count(*) from klingwatch.deliveries d where d.event = e.id) from klingwatch.events e where type = 'task.archived'`).Scan(&body, &delivered); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(body), &payload); err != nil {
		t.Fatal(err)
	}
	about := payload.Data.Outputs[1].Archive
	if payload.Data.Status != "succeeded" || payload.Data.Sequence != 2 || about.State != "stored" || about.URL != "https://kw.example/v1/outputs/"+strconv.FormatInt(task, 10)+"/image/1/content" || !strings.HasSuffix(about.ThumbnailURL, "/image/1/thumbnail") {
		t.Errorf("the event says %s", body)
	}
	if delivered != 1 {
		t.Errorf("the callback that asked for it gets %d", delivered)
	}
	if n := h.count(`select count(*) from klingwatch.archive_removals`); n != 0 {
		t.Errorf("%d keys are still claimed", n)
	}
}

// Who is asked last decides: the task, its relay, the deployment.
func TestNotAllFilesAreKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.run(`insert into klingwatch.relays (name, base_url, task_path, poll_rate, key_source, key_file, archive) values
		('never', 'https://a.example', '/{task_id}', 1, 'key_file', '/k', false), ('always', 'https://b.example', '/{task_id}', 1, 'key_file', '/k', true)`)
	for name, c := range map[string]struct {
		relay   string
		archive *bool
		kept    bool
	}{
		"nobody says anything":        {"default", nil, true},
		"the task says no":            {"default", new(false), false},
		"the relay says no":           {"never", nil, false},
		"the relay no, the task yes":  {"never", new(true), true},
		"the relay yes, the task no":  {"always", new(false), false},
		"the relay says yes, as such": {"always", nil, true},
	} {
		tracked, err := ledger.Track(t.Context(), h.pool, []db.NewTask{{Relay: c.relay, TaskID: strings.ReplaceAll(name, " ", "-"), Action: "images", Action2: "generations"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		h.run(`update klingwatch.tasks set archive = $2 where id = $1`, tracked[0].ID, c.archive)
		h.end(tracked[0].ID, "https://files.example/1.png")
		jobs := h.count(`select count(*) from klingwatch.live_jobs where kind = 'archive' and key in (select klingwatch.job_key('archive', archive_id) from klingwatch.outputs where task = $1)`, tracked[0].ID)
		if got := h.outputs(tracked[0].ID)[0].ArchiveState != nil; got != c.kept || jobs == 1 != c.kept {
			t.Errorf("%s: it is to be kept: %v, with %d jobs", name, got, jobs)
		}
	}
}

func TestTheRelayIsAskedOnceForANewURL(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	content := picture(t, 50)
	gone := h.host(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "expired", http.StatusForbidden) })
	fresh := h.host(serves(content))
	task := h.ended("t", nil, gone)
	h.now = func() ([]db.Output, error) {
		return []db.Output{{Task: task, Kind: "image", URL: fresh, ExpiresAt: new(time.Now().Add(time.Hour))}}, nil
	}
	if wait, again := h.keep(task); !again || wait != 0 {
		t.Errorf("after the new URL it waits %s, again %v", wait, again)
	}
	if h.keep(task); *h.outputs(task)[0].ArchiveState != db.ArchiveStored || h.asked.Load() != 1 {
		t.Errorf("it is %+v, the relay was asked %d times", h.outputs(task)[0].KeptFile, h.asked.Load())
	}

	again := h.ended("again", nil, gone)
	h.now = func() ([]db.Output, error) { return []db.Output{{Task: again, Kind: "image", URL: gone}}, nil }
	for range 3 {
		h.keep(again)
	}
	if h.asked.Load() != 2 || *h.outputs(again)[0].ArchiveState != db.ArchivePending || !strings.Contains(*h.outputs(again)[0].ArchiveError, "HTTP 403") {
		t.Errorf("it is %+v, the relay was asked %d times", h.outputs(again)[0].KeptFile, h.asked.Load())
	}
}

func TestAFileIsLostOnlyWhenTheProviderHasDeletedIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var answer atomic.Pointer[http.HandlerFunc]
	use := func(f http.HandlerFunc) { answer.Store(&f) }
	broken := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) })
	use(broken)
	url := h.host(func(w http.ResponseWriter, r *http.Request) { (*answer.Load())(w, r) })

	task := h.ended("late", nil, url)
	if wait, again := h.keep(task); !again || wait < 4*time.Second || wait > 6*time.Second {
		t.Errorf("it waits %s, again %v", wait, again)
	}
	h.run(`update klingwatch.outputs set expires_at = now() - interval '1 min' where task = $1`, task)
	use(serves(picture(t, 1))) // as some do that keep files longer than they say
	if h.keep(task); *h.outputs(task)[0].ArchiveState != db.ArchiveStored {
		t.Errorf("it is %+v", h.outputs(task)[0].KeptFile)
	}

	use(broken)
	lost := h.ended("lost", nil, url, url)
	h.run(`update klingwatch.outputs set expires_at = now() - interval '25 h' where task = $1 and position = 0`, lost)
	h.keep(lost)
	if got := h.events(lost); got != "succeeded" {
		t.Errorf("one file is lost, one is waited for: %s", got)
	}
	use(serves(picture(t, 2)))
	h.keep(lost)
	list := h.outputs(lost)
	if *list[0].ArchiveState != db.ArchiveLost || !strings.Contains(*list[0].ArchiveError, "given up 25h") || !strings.Contains(*list[0].ArchiveError, "HTTP 502") || *list[1].ArchiveState != db.ArchiveStored {
		t.Errorf("they are %+v and %+v", list[0].KeptFile, list[1].KeptFile)
	}
	if got := h.events(lost); got != "succeeded archive_failed" {
		t.Errorf("the events are %s", got)
	}
}

func TestAFileThatIsTooLargeIsSkipped(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	task := h.ended("t", nil, h.host(serves(append(picture(t, 3), make([]byte, 2<<20)...))))
	if _, again := h.keep(task); again || *h.outputs(task)[0].ArchiveState != db.ArchiveSkipped || h.events(task) != "succeeded archive_failed" {
		t.Errorf("it is %+v, again %v, with %s", h.outputs(task)[0].KeptFile, again, h.events(task))
	}
}

func TestTheRelaysKeyGoesWithItsOwnLinks(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	content := picture(t, 4)
	task := h.ended("t", nil, h.host(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sk-test" {
			http.Error(w, "no key", http.StatusUnauthorized)
			return
		}
		serves(content)(w, r)
	}))
	h.run(`update klingwatch.outputs set needs_key = true where task = $1`, task)
	if h.keep(task); *h.outputs(task)[0].ArchiveState != db.ArchiveStored {
		t.Errorf("it is %+v", h.outputs(task)[0].KeptFile)
	}
}

// Two processes have the same file, and two of the same task: all is there once.
func TestTwoWhoKeepTheSameAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	content := picture(t, 5)
	url := h.host(serves(content))
	task := h.ended("t", nil, url, url, url)
	ids := h.numbers(task)
	var all sync.WaitGroup
	for range 4 {
		for _, id := range ids {
			all.Go(func() {
				if _, _, err := h.keeper.Keep(t.Context(), h, id); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	for _, o := range h.outputs(task) {
		if *o.ArchiveState != db.ArchiveStored || o.ArchiveAttempts != 1 {
			t.Errorf("a file is %+v", o.KeptFile)
		}
		h.holds(*o.ArchiveKey, content)
	}
	if got := h.events(task); got != "succeeded archived" {
		t.Errorf("the events are %s", got)
	}
}

// A task that is asked again may end otherwise, or with a URL that does not work any more: a
// file that is stored stays.
func TestAStoredFileStaysWhateverItsTaskBecomes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	content := picture(t, 11)
	url := h.host(serves(content))
	dead := h.host(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone", http.StatusNotFound) })
	for name, end := range map[string]func(int64){
		"it succeeds with another URL": func(task int64) { h.end(task, dead) },
		"it is canceled": func(task int64) {
			if err := ledger.Cancel(t.Context(), h.pool, task, time.Hour); err != nil {
				t.Fatal(err)
			}
		},
	} {
		task := h.ended(strings.ReplaceAll(name, " ", "-"), nil, url)
		h.keep(task)
		key := *h.outputs(task)[0].ArchiveKey
		if err := ledger.Reopen(t.Context(), h.pool, task, time.Hour); err != nil {
			t.Fatal(err)
		}
		end(task)
		h.keep(task)
		if n, err := keep.RemoveUnused(t.Context(), h.pool, h.store); err != nil || n != 0 {
			t.Errorf("%s: %d files are removed, %v", name, n, err)
		}
		if list := h.outputs(task); len(list) != 1 || *list[0].ArchiveState != db.ArchiveStored || *list[0].ArchiveKey != key {
			t.Errorf("%s: the files are %+v", name, list)
		}
		h.holds(key, content)
	}
}

// The files of a task that is gone are removed, but not those that it made anew.
func TestFilesGoWithTheirTask(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	content := picture(t, 6)
	url := h.host(serves(content))
	gone, again, kept := h.ended("gone", nil, url), h.ended("again", nil, url), h.ended("kept", nil, url)
	for _, task := range []int64{gone, again, kept} {
		h.keep(task)
	}
	keys := map[int64]string{}
	for _, task := range []int64{gone, again, kept} {
		keys[task] = *h.outputs(task)[0].ArchiveKey
	}
	h.run(`delete from klingwatch.tasks where id = $1`, gone)
	// asked again, it ends with the same file
	if err := ledger.Reopen(t.Context(), h.pool, again, time.Hour); err != nil {
		t.Fatal(err)
	}
	h.end(again, url)
	h.keep(again)

	removed, err := keep.RemoveUnused(t.Context(), h.pool, h.store)
	if err != nil || removed != 1 {
		t.Errorf("%d were removed, %v", removed, err)
	}
	for _, key := range []string{keys[gone], keep.ThumbnailKey(keys[gone])} {
		if _, err := h.store.Stat(t.Context(), key); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("%s is there: %v", key, err)
		}
	}
	h.holds(keys[again], content)
	h.holds(keys[kept], content)
	if got := h.events(again); got != "succeeded archived succeeded" { // it was safe all the time
		t.Errorf("the events are %s", got)
	}
	if removed, err := keep.RemoveUnused(t.Context(), h.pool, h.store); err != nil || removed != 0 {
		t.Errorf("a second time %d were removed, %v", removed, err)
	}
}

// ffmpeg takes longer than all else: a video is safe, and told of, before it is looked into.
// Where the process dies in between, the next one does that.
func TestAVideoIsSafeBeforeItsPictureIsMade(t *testing.T) {
	t.Parallel()
	if !fetch.FindTools(t.Context()).Installed() {
		if os.Getenv("CI") != "" {
			t.Fatal("ffmpeg is not installed")
		}
		t.Skip("SKIPPED: ffmpeg is not installed")
	}
	h := newHouse(t)
	relay := httptest.NewServer(klingsim.New(klingsim.Config{Seed: 1}))
	t.Cleanup(relay.Close)
	task := h.ended("t", nil, relay.URL+"/files/t-videos-0.mp4")
	h.run(`update klingwatch.outputs set kind = 'video' where task = $1`, task)
	h.keep(task)
	measured := func() {
		t.Helper()
		o := h.outputs(task)[0]
		if *o.ArchiveState != db.ArchiveStored || o.ThumbnailKey == nil || *o.Width != 320 || *o.Height != 180 || o.DurationSeconds == nil || o.ArchiveAttempts != 1 {
			t.Errorf("the file is %+v, %v s", o.KeptFile, o.DurationSeconds)
		} else if _, err := h.store.Stat(t.Context(), *o.ThumbnailKey); err != nil {
			t.Error(err)
		}
	}
	measured()
	if early := h.count(`select count(*) from klingwatch.events where type = 'task.archived' and payload::text like '%"thumbnail_url": null%'`); early != 1 {
		t.Errorf("the event did not come before the picture")
	}
	h.run(`update klingwatch.outputs set thumbnail_key = null, width = null, height = null where task = $1`, task)
	h.keep(task)
	measured()
	if got := h.events(task); got != "succeeded archived" {
		t.Errorf("the events are %s", got)
	}
}

func TestFilesAreKeptForAWhileWhereTheOperatorSaysSo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	url := h.host(serves(picture(t, 8)))
	old, young := h.ended("old", nil, url), h.ended("young", nil, url)
	h.keep(old)
	h.keep(young)
	h.run(`update klingwatch.outputs set archived_at = now() - interval '31 d' where task = $1`, old)
	key := *h.outputs(old)[0].ArchiveKey
	if n, err := db.ReleaseFiles(t.Context(), h.pool, 30*24*time.Hour, 100); err != nil || n != 1 {
		t.Fatalf("%d are released, %v", n, err)
	}
	if n, err := keep.RemoveUnused(t.Context(), h.pool, h.store); err != nil || n != 1 {
		t.Fatalf("%d are removed, %v", n, err)
	}
	h.keep(old) // by a job that was left: there is nothing to do
	if o := h.outputs(old)[0]; o.ArchiveState != nil || o.ArchiveKey != nil || !strings.Contains(*o.ArchiveError, "KLINGWATCH_ARCHIVE_RETENTION") {
		t.Errorf("the old file is %+v", o.KeptFile)
	}
	if _, err := h.store.Stat(t.Context(), key); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("the old file is there: %v", err)
	}
	if o := h.outputs(young)[0]; *o.ArchiveState != db.ArchiveStored {
		t.Errorf("the young file is %+v", o.KeptFile)
	}
	if n, err := db.ReleaseFiles(t.Context(), h.pool, 30*24*time.Hour, 100); err != nil || n != 0 {
		t.Errorf("then %d are released, %v", n, err)
	}
}

// stored lists the files in the store.
func (h *house) stored() []string {
	h.Helper()
	var keys []string
	err := fs.WalkDir(os.DirFS(h.dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			keys = append(keys, path)
		}
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// Whatever hosts do, each file ends stored, or lost or skipped with a reason, and the store
// holds what the rows say and nothing else.
func TestWhateverHostsDoTheStoreHoldsWhatTheRowsSay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	content := picture(t, 9)
	deeds := []http.HandlerFunc{
		serves(content),
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusServiceUnavailable) },
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone", http.StatusNotFound) },
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<!doctype html><p>sorry") },
		func(http.ResponseWriter, *http.Request) {},
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			_, _ = w.Write(content[:len(content)/2]) // and no more
		},
		func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append(slices.Clip(content), make([]byte, 2<<20)...))
		},
		func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		},
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("drawn with the seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 1))
	var tasks []int64
	for i := range 12 {
		var urls []string
		for range 1 + draw.IntN(3) {
			script := []int{draw.IntN(len(deeds)), draw.IntN(len(deeds)), draw.IntN(len(deeds))}
			var asked atomic.Int32
			urls = append(urls, h.host(func(w http.ResponseWriter, r *http.Request) { deeds[script[int(asked.Add(1)-1)%len(script)]](w, r) }))
		}
		tasks = append(tasks, h.ended("t-"+strconv.Itoa(i), nil, urls...))
	}
	for range 3 {
		for _, task := range tasks {
			h.keep(task)
		}
	}
	h.run(`update klingwatch.outputs set expires_at = now() - interval '25 h' where archive_state = 'pending'`)
	var want []string
	for _, task := range tasks {
		h.keep(task)
		missing := false
		for _, o := range h.outputs(task) {
			switch *o.ArchiveState {
			case db.ArchiveStored:
				h.holds(*o.ArchiveKey, content)
				want = append(want, *o.ArchiveKey, *o.ThumbnailKey)
			case db.ArchiveLost, db.ArchiveSkipped:
				missing = true
				if o.ArchiveError == nil || *o.ArchiveError == "" {
					t.Errorf("a file is %s without a reason", *o.ArchiveState)
				}
			default:
				t.Errorf("a file is %+v", o.KeptFile)
			}
		}
		if got := h.events(task); got != map[bool]string{false: "succeeded archived", true: "succeeded archive_failed"}[missing] {
			t.Errorf("files are missing: %v, and the events are %s", missing, got)
		}
	}
	slices.Sort(want)
	if got := h.stored(); !slices.Equal(got, want) {
		t.Errorf("the store holds %q, the rows tell of %q", got, want)
	}
}

// A process dies between storing a file and its row: the task asks again, or the file goes.
func TestWhatADeadProcessStoredIsFoundOrRemoved(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	content := picture(t, 7)
	url := h.host(serves(content))
	for _, c := range []struct {
		name    string
		resumes bool
	}{{"resumes", true}, {"gone", false}} {
		task := h.ended(c.name, nil, url)
		h.keep(task)
		key := *h.outputs(task)[0].ArchiveKey
		// as it was before the row was written
		h.run(`update klingwatch.outputs set archive_state = 'pending', archive_key = null, bytes = null, sha256 = null, archived_at = null, thumbnail_key = null where task = $1`, task)
		h.run(`insert into klingwatch.archive_removals (key, not_before) values ($1, now() + interval '1 d')`, key)
		if c.resumes {
			h.keep(task)
		} else {
			h.run(`delete from klingwatch.tasks where id = $1`, task)
		}
		if n, err := keep.RemoveUnused(t.Context(), h.pool, h.store); err != nil || n != 0 {
			t.Errorf("%s: %d were removed before their time, %v", c.name, n, err)
		}
		h.run(`update klingwatch.archive_removals set not_before = now()`)
		n, err := keep.RemoveUnused(t.Context(), h.pool, h.store)
		if err != nil || n == 0 != c.resumes {
			t.Errorf("%s: %d were removed, %v", c.name, n, err)
		}
		if _, err := h.store.Stat(t.Context(), key); errors.Is(err, archive.ErrNotFound) == c.resumes {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A file that is removed just now cannot be stored meanwhile: who stores it waits.
func TestNobodyStoresAFileWhileItIsRemoved(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.run(`insert into klingwatch.archive_removals (key) values ('default/a.png')`)
	tx, err := h.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if key, err := db.LockRemovable(t.Context(), tx); err != nil || key != "default/a.png" {
		t.Fatal(key, err)
	}
	wait := dbtest.Blocked(t, h.pool, func() error { return db.ClaimFile(t.Context(), h.pool, "default/a.png", time.Hour) })
	if err := db.Removed(t.Context(), tx, "default/a.png"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	if n := h.count(`select count(*) from klingwatch.archive_removals where not_before > now()`); n != 1 {
		t.Errorf("%d keys are claimed", n)
	}
}
