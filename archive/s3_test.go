package archive_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/archive/archivetest"
)

// proxy stands between the store and the server, and lets a test do as it likes with
// each request.
func proxy(t *testing.T, server *archivetest.Server, handle func(w http.ResponseWriter, r *http.Request, pass http.Handler)) string {
	t.Helper()
	target, _ := url.Parse(server.URL)
	pass := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, pass) }))
	t.Cleanup(front.Close)
	return front.URL
}

func slowDown(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusServiceUnavailable)
	io.WriteString(w, `<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
}

// mustBeClear wants an error that is worth another try, and one line without secrets.
func mustBeClear(t *testing.T, err error, wants ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if !archive.Temporary(err) {
		t.Errorf("it says that another try is in vain: %v", err)
	}
	text := err.Error()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in: %s", want, text)
		}
	}
	for _, secret := range []string{archivetest.AccessKey, archivetest.SecretKey, "other-secret", "Signature=", "\n"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in: %s", secret, text)
		}
	}
}

func TestAWrongKeyIsSaid(t *testing.T) {
	server := archivetest.Start(t)
	for _, test := range []struct{ id, secret, want string }{
		{"nobody", "other-secret", "refuses the access key (XAdminUserNotFound)"},
		{archivetest.AccessKey, "other-secret", "refuses the access key (SignatureDoesNotMatch)"},
	} {
		t.Setenv("AWS_ACCESS_KEY_ID", test.id)
		t.Setenv("AWS_SECRET_ACCESS_KEY", test.secret)
		store := open(t, server.Setting("", ""))
		mustBeClear(t, put(t, store, key, []byte("text")), "could not keep "+key, test.want, "correct AWS_ACCESS_KEY_ID")
		_, err := store.Stat(t.Context(), key)
		mustBeClear(t, err, test.want)
		_, err = store.Check(t.Context())
		mustBeClear(t, err, test.want)
	}
}

func TestAMissingBucketIsNoMissingFile(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	store := open(t, strings.Replace(server.Setting("", ""), archivetest.Bucket, "elsewhere", 1))
	_, statErr := store.Stat(t.Context(), key)
	_, openErr := store.Open(t.Context(), key)
	_, checkErr := store.Check(t.Context())
	for _, err := range []error{put(t, store, key, []byte("text")), statErr, openErr, store.Remove(t.Context(), key), checkErr} {
		mustBeClear(t, err, "s3://elsewhere/ at 127.0.0.1", "there is no such bucket; create it, or correct KLINGWATCH_ARCHIVE")
	}
}

func TestCredentialsAreReadAnewFromTheirFile(t *testing.T) {
	server := archivetest.Start(t)
	file := filepath.Join(t.TempDir(), "credentials")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_PROFILE", "clips")

	_, err := archive.Open(server.Setting("", ""), t.TempDir())
	mustBeClear(t, err, "no credentials", `profile "clips" of `+file)
	os.WriteFile(file, []byte("[clips]\naws_secret_access_key other-secret\n"), 0o600) // the parser would show the line
	_, err = archive.Open(server.Setting("", ""), t.TempDir())
	mustBeClear(t, err, "no credentials", `profile "clips" of `+file)

	write := func(secret string) {
		os.WriteFile(file, []byte("[clips]\naws_access_key_id = "+archivetest.AccessKey+"\naws_secret_access_key = "+secret+"\n"), 0o600)
	}
	write("other-secret")
	store := open(t, server.Setting("", ""))
	mustBeClear(t, put(t, store, key, []byte("text")), "refuses the access key")
	write(archivetest.SecretKey)
	if err := put(t, store, key, []byte("text")); err != nil {
		t.Error(err)
	}
}

func TestAThrottledRequestIsRepeatedSomeTimes(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	var refusals, asked atomic.Int32
	store := open(t, server.Setting("", proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodPut {
			if asked.Add(1); refusals.Add(-1) >= 0 {
				slowDown(w)
				return
			}
		}
		pass.ServeHTTP(w, r)
	})))

	refusals.Store(2)
	content := random(300_000)
	if err := put(t, store, key, content); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, store, key), content) {
		t.Error("the file is not what was put")
	}
	refusals.Store(1 << 30)
	asked.Store(0)
	mustBeClear(t, put(t, store, key+"2", content), "too busy (SlowDown)", "5 times in a row")
	if asked.Load() != 5 {
		t.Errorf("it asked %d times", asked.Load())
	}
}

// The first try went well, and its answer was lost.
func TestALostAnswerIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, single := range []int64{1 << 20, 1 << 10} {
		server := archivetest.Start(t)
		var lost atomic.Bool
		store := open(t, server.Setting("", proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
			ends := r.Method == http.MethodPut && r.URL.RawQuery == "" || r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
			if ends && lost.CompareAndSwap(false, true) {
				pass.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
			pass.ServeHTTP(w, r)
		})))
		archive.SetParts(store, single, 5<<20)
		content := random(100_000)
		if err := put(t, store, key, content); err != nil {
			t.Error(err)
		}
		if !lost.Load() || !bytes.Equal(read(t, store, key), content) {
			t.Error("no answer was lost, or the file is not what was put")
		}
	}
}

func TestAnUploadThatIsCutKeepsNothingAndIsRepeated(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	cuts := atomic.Int32{}
	front := proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodPut && cuts.Add(-1) >= 0 {
			r.Body = cutBody{io.LimitReader(r.Body, 150_000), r.Body}
		}
		pass.ServeHTTP(w, r)
	})
	store := open(t, server.Setting("", front))
	content := random(1 << 20)
	cuts.Store(1 << 30)
	mustBeClear(t, put(t, store, key, content), "could not keep "+key)
	if _, err := store.Stat(t.Context(), key); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("half a file is there: %v", err)
	}
	cuts.Store(1)
	if err := put(t, store, key, content); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, store, key), content) {
		t.Error("the file is not what was put")
	}
}

// cutBody ends with an error instead of an end.
type cutBody struct {
	io.Reader
	io.Closer
}

func (c cutBody) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = errors.New("cut")
	}
	return n, err
}

func TestAServerThatGoesAwayIsSaid(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	store := open(t, server.Setting("", proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodPut {
			io.CopyN(io.Discard, r.Body, 200_000)
			server.Stop()
		}
		pass.ServeHTTP(w, r)
	})))
	mustBeClear(t, put(t, store, key, random(1<<20)), "could not keep "+key, "check the network")

	store = open(t, server.Setting("", ""))
	mustBeClear(t, put(t, store, key, []byte("text")), "connection refused; check the network and endpoint=")
}

// A time-out of the whole would end large files, one of the answer alone would end them
// while they are sent.
func TestOnlyAStandstillIsATimeout(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	var stop atomic.Bool
	store := open(t, server.Setting("", proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodPut {
			if stop.Load() {
				<-t.Context().Done()
				return
			}
			r.Body = slowBody{r.Body}
		}
		pass.ServeHTTP(w, r)
	})))
	archive.SetStall(store, 400*time.Millisecond)
	began := time.Now()
	if err := put(t, store, key, random(24<<20)); err != nil {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if time.Since(began) < 600*time.Millisecond {
		t.Errorf("it took only %s, which shows nothing", time.Since(began))
	}
	stop.Store(true)
	mustBeClear(t, put(t, store, key+"2", random(24<<20)), "nothing moved for")
}

type slowBody struct{ io.ReadCloser }

func (s slowBody) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.ReadCloser.Read(p)
}

func TestLargeFilesGoInParts(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	var parts atomic.Int32
	front := proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.URL.Query().Has("partNumber") {
			parts.Add(1)
		}
		pass.ServeHTTP(w, r)
	})
	store := open(t, server.Setting("films", front))
	archive.SetParts(store, 6<<20, 5<<20)
	content := random(12 << 20)
	for range 2 {
		if err := put(t, store, key, content); err != nil {
			t.Fatal(err)
		}
	}
	if parts.Load() != 3 {
		t.Errorf("%d parts were sent, want 3", parts.Load())
	}
	if !bytes.Equal(read(t, store, key), content) {
		t.Error("the file is not what was put")
	}
	if info, err := store.Stat(t.Context(), key); err != nil || info != about(content) {
		t.Errorf("Stat: %+v, %v; want %+v", info, err, about(content))
	}

	other, info := file(t, store, content)
	info.SHA256 = about(nil).SHA256
	if err := store.Put(t.Context(), key+"2", other, info); !errors.Is(err, archive.ErrAltered) {
		t.Errorf("with another sha256: %v, want ErrAltered", err)
	}
	if left := unfinished(t, server); left != 0 {
		t.Errorf("%d files of unfinished uploads are left", left)
	}
}

// Two processes send the same large file at once, or two different ones.
func TestLargeFilesAreNotReplacedEither(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	var both sync.WaitGroup
	both.Add(2)
	store := open(t, server.Setting("", proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodPost && r.URL.Query().Has("uploads") { // both have looked
			both.Done()
			both.Wait()
		}
		pass.ServeHTTP(w, r)
	})))
	archive.SetParts(store, 1<<10, 5<<20)
	oneWins(t, store, random(30_000), random(20_000))
}

// What a killed process leaves at the server costs money until it is aborted.
func TestOldUnfinishedUploadsAreAborted(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	killed, kill := context.WithCancel(t.Context())
	var dead atomic.Bool // a killed process sends nothing
	store := open(t, server.Setting("films", proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.URL.Query().Get("partNumber") == "2" {
			dead.Store(true)
			kill()
		}
		if dead.Load() {
			panic(http.ErrAbortHandler)
		}
		pass.ServeHTTP(w, r)
	})))
	archive.SetParts(store, 1<<10, 5<<20)
	local, info := file(t, store, random(6<<20))
	if err := store.Put(killed, key, local, info); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	dead.Store(false)
	os.Remove(local.Name())
	if unfinished(t, server) == 0 {
		t.Fatal("nothing was left, which shows nothing")
	}
	if removed, err := store.CleanSpool(t.Context(), time.Hour); removed != 0 || err != nil {
		t.Errorf("young ones: %d removed, %v", removed, err)
	}
	if removed, err := store.CleanSpool(t.Context(), 0); removed != 1 || err != nil {
		t.Errorf("old ones: %d removed, %v; want 1", removed, err)
	}
	if left := unfinished(t, server); left != 0 {
		t.Errorf("%d files of unfinished uploads are left", left)
	}
}

// unfinished counts the parts that the server has on its disk.
func unfinished(t *testing.T, server *archivetest.Server) (count int) {
	t.Helper()
	filepath.WalkDir(filepath.Join(server.Dir, ".sgwtmp"), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			count++
		}
		return nil
	})
	return count
}

// http.ServeContent goes to the end for the size, and back.
func TestARunOfReadsIsOneRequest(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	var mu sync.Mutex
	var ranges []string
	store := open(t, server.Setting("", proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodGet {
			mu.Lock()
			ranges = append(ranges, cmp.Or(r.Header.Get("Range"), "all"))
			mu.Unlock()
		}
		pass.ServeHTTP(w, r)
	})))
	want := random(3 << 20)
	if err := put(t, store, key, want); err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, err := store.Open(r.Context(), key)
		if err != nil {
			t.Error(err)
			return
		}
		defer content.Close()
		w.Header().Set("Content-Type", "video/mp4")
		http.ServeContent(w, r, "", time.Time{}, content.ReadSeekCloser)
	}))
	defer api.Close()
	for _, test := range []struct {
		header string
		want   []byte
		asked  string
	}{
		{"", want, "all"},
		{"bytes=1000000-1999999", want[1_000_000:2_000_000], "bytes=1000000-"},
		{"bytes=-5", want[len(want)-5:], "bytes=3145723-"},
	} {
		ranges = nil
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, api.URL, nil)
		if test.header != "" {
			request.Header.Set("Range", test.header)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || !bytes.Equal(got, test.want) {
			t.Errorf("%s: %d bytes, %v", test.header, len(got), err)
		}
		if len(ranges) != 1 || ranges[0] != test.asked {
			t.Errorf("%s: the server was asked for %q, want one %q", test.header, ranges, test.asked)
		}
	}
}

func TestReadsGoOnAfterACut(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	var dead atomic.Bool
	store := open(t, server.Setting("", proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodGet {
			w = &cutWriter{ResponseWriter: w, left: 400_000, dead: dead.Load()}
		}
		pass.ServeHTTP(w, r)
	})))
	want := random(1 << 20)
	if err := put(t, store, key, want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, store, key), want) {
		t.Error("the file is not what was put")
	}
	dead.Store(true)
	content, err := store.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	_, err = io.ReadAll(content)
	mustBeClear(t, err, "could not read "+key, "its answers end early")
}

// cutWriter ends the connection after some bytes, or before the first.
type cutWriter struct {
	http.ResponseWriter
	left int
	dead bool
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 || c.dead {
		http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

func TestAFileThatWasReplacedIsNotReadOn(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	store := open(t, server.Setting("", ""))
	if err := put(t, store, key, random(100_000)); err != nil {
		t.Fatal(err)
	}
	content, err := store.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	content.Read(make([]byte, 10))
	if err := store.Remove(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := put(t, store, key, random(100_000)); err != nil {
		t.Fatal(err)
	}
	content.Seek(50_000, io.SeekStart)
	_, err = content.Read(make([]byte, 10))
	mustBeClear(t, err, "another file took its place while it was read")
}

func TestALinkNeedsNoCredentials(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	store := open(t, server.Setting("some/prefix", ""))
	want := random(10_000)
	if err := put(t, store, key, want); err != nil {
		t.Fatal(err)
	}
	link, err := store.Link(t.Context(), key, time.Minute, "träum \"süß\".mp4", "video/quicktime")
	if err != nil {
		t.Fatal(err)
	}
	get := func(link string) (*http.Response, []byte) {
		response, err := http.Get(link)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response, body
	}
	response, got := get(link)
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes", response.Status, len(got))
	}
	if got := response.Header.Get("Content-Type"); got != "video/quicktime" {
		t.Errorf("Content-Type is %q", got)
	}
	if got, want := response.Header.Get("Content-Disposition"), `attachment; filename*=utf-8''tr%C3%A4um%20%22s%C3%BC%C3%9F%22.mp4`; got != want {
		t.Errorf("Content-Disposition is %q, want %q", got, want)
	}
	if response, _ := get(strings.Replace(link, "video-0", "video-1", 1)); response.StatusCode != http.StatusForbidden {
		t.Errorf("a link to another file: %s", response.Status)
	}
	for _, lifetime := range []time.Duration{0, 8 * 24 * time.Hour} {
		if _, err := store.Link(t.Context(), key, lifetime, "", ""); err == nil {
			t.Errorf("a link for %s", lifetime)
		}
	}
	streams := open(t, server.Setting("", "")+"&serve=stream")
	if link, err := streams.Link(t.Context(), key, time.Minute, "", ""); link != "" || err != nil {
		t.Errorf("with serve=stream: %q, %v", link, err)
	}
}

// Some servers answer 501 to conditions.
func TestAServerWithoutConditionsWillDo(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	store := open(t, server.Setting("", proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotImplemented)
			io.WriteString(w, `<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented.</Message></Error>`)
			return
		}
		pass.ServeHTTP(w, r)
	})))
	content := random(1000)
	if err := put(t, store, key, content); err != nil {
		t.Fatal(err)
	}
	if err := put(t, store, key, content[1:]); !errors.Is(err, archive.ErrTaken) {
		t.Errorf("%v, want ErrTaken", err)
	}
	if !bytes.Equal(read(t, store, key), content) {
		t.Error("the file was replaced")
	}
}

// A file that is not there after a Put must be put again, not be given up.
func TestPutNeverSaysThatTheFileIsNotFound(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	var conflict atomic.Bool
	store := open(t, server.Setting("", proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		switch {
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodPut && conflict.Load():
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, `<Error><Code>ConditionalRequestConflict</Code><Message>secret</Message></Error>`)
		default:
			pass.ServeHTTP(w, r)
		}
	})))
	mustBeClear(t, put(t, store, key, []byte("text")), "it took the file, and does not have it")
	conflict.Store(true)
	mustBeClear(t, put(t, store, key, []byte("text")), "another upload of the same file is under way (ConditionalRequestConflict)")
}

// The clock of a machine that is wrong makes all requests fail.
func TestCheckTellsHowFarTheClocksAreApart(t *testing.T) {
	t.Parallel()
	server := archivetest.Start(t)
	store := open(t, server.Setting("", proxy(t, server, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		answer := httptest.NewRecorder()
		pass.ServeHTTP(answer, r)
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.Header().Set("Date", time.Now().Add(-10*time.Minute).UTC().Format(http.TimeFormat))
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
	})))
	health, err := store.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if away := (health.ClockAway + 10*time.Minute).Abs(); away > 5*time.Second || health.Free != -1 {
		t.Errorf("%+v, want -10m", health)
	}
}

// Files are read as they are sent: a process keeps eight large ones at once.
func TestUploadsTakeLittleMemory(t *testing.T) {
	server := archivetest.Start(t)
	store := open(t, server.Setting("", ""))
	archive.SetParts(store, 20<<20, 8<<20)
	const size = 16 << 20
	put(t, store, "warm", random(1000))
	content := random(size)
	locals := make([]*os.File, 8)
	var info archive.Info
	for i := range locals {
		locals[i], info = file(t, store, content)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	for i, local := range locals {
		all.Go(func() {
			if err := store.Put(t.Context(), key+string(rune('a'+i)), local, info); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 8<<20 {
		t.Errorf("8 uploads of 16 MiB allocated %d kB", allocated>>10)
	} else {
		t.Logf("8 uploads of 16 MiB allocated %d kB", allocated>>10)
	}
}
