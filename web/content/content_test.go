package content

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/archive"
)

// text is what the file holds.
const text = "0123456789abcdef"

var storedAt = time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)

// fileIn returns a file that a new store on the disk keeps, the store, and its directory.
func fileIn(t *testing.T) (File, archive.Store, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := archive.Open("file:"+dir, "")
	if err != nil {
		t.Fatal(err)
	}
	local, err := os.CreateTemp(store.Spool(), "")
	if err == nil {
		_, err = local.WriteString(text)
	}
	if err == nil {
		err = store.Put(t.Context(), "a/clip.mp4", local, archive.Info{Size: int64(len(text))})
	}
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	return File{
		Key: "a/clip.mp4", Size: int64(len(text)), ETag: hex.EncodeToString(sum[:]), ContentType: "video/mp4", Name: "clip.mp4", StoredAt: storedAt, Fresh: time.Hour,
	}, store, dir
}

// ask serves the file to a client over a connection; header names and values alternate.
func ask(t *testing.T, f File, store archive.Store, method string, header ...string) (*http.Response, string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := Serve(r.Context(), w, r, store, f); err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
		}
	}))
	t.Cleanup(server.Close)
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

func TestAFileIsServedWholeAndInParts(t *testing.T) {
	t.Parallel()
	f, store, _ := fileIn(t)
	etag, day := `"`+f.ETag+`"`, storedAt.Format(http.TimeFormat)
	later := storedAt.Add(time.Hour).Format(http.TimeFormat)
	for name, c := range map[string]struct {
		method string
		header []string
		status int
		body   string
		has    map[string]string
	}{
		"whole":              {"GET", nil, 200, text, map[string]string{"Content-Length": "16", "Accept-Ranges": "bytes"}},
		"its head":           {"HEAD", nil, 200, "", map[string]string{"Content-Length": "16"}},
		"a part":             {"GET", []string{"Range", "bytes=2-5"}, 206, "2345", map[string]string{"Content-Range": "bytes 2-5/16", "Content-Length": "4"}},
		"its end":            {"GET", []string{"Range", "bytes=-3"}, 206, "def", nil},
		"from the middle on": {"GET", []string{"Range", "bytes=10-"}, 206, "abcdef", nil},
		"a range of nothing": {"GET", []string{"Range", "bytes=16-"}, 418, ErrRange.Error() + "\n", map[string]string{"Content-Range": "bytes */16", "Content-Type": "text/plain; charset=utf-8"}},
		"if it is the same":  {"GET", []string{"Range", "bytes=2-5", "If-Range", etag}, 206, "2345", nil},
		"if it is another":   {"GET", []string{"Range", "bytes=2-5", "If-Range", `"another"`}, 200, text, nil},
		"known already":      {"GET", []string{"If-None-Match", etag}, 304, "", nil},
		"another is known":   {"GET", []string{"If-None-Match", `"another"`}, 200, text, nil},
		"not newer":          {"GET", []string{"If-Modified-Since", later}, 304, "", nil},
		"only if it is":      {"GET", []string{"If-Match", `"another"`}, 418, ErrPrecondition.Error() + "\n", nil},
	} {
		answer, body := ask(t, f, store, c.method, c.header...)
		if answer.StatusCode != c.status || body != c.body {
			t.Errorf("%s: HTTP %d %q, want %d %q", name, answer.StatusCode, body, c.status, c.body)
		}
		for header, want := range c.has {
			if got := answer.Header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
		always := map[string]string{
			"ETag": etag, "Last-Modified": day, "Content-Type": "video/mp4", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'",
			"Content-Disposition": `inline; filename="clip.mp4"`, "Cache-Control": "private, max-age=3600",
		}
		switch c.status {
		case 304:
			always = map[string]string{"ETag": etag, "Cache-Control": "private, max-age=3600"}
		case 418: // another answer, about no file
			always = map[string]string{"ETag": "", "Last-Modified": "", "Content-Disposition": "", "Cache-Control": ""}
		}
		for header, want := range always {
			if got := answer.Header.Get(header); got != want && !(got == "no-store" && want == "") {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
	}
	if answer, body := ask(t, f, store, "GET", "Range", "bytes=0-1,4-5"); answer.StatusCode != 206 || !strings.HasPrefix(answer.Header.Get("Content-Type"), "multipart/byteranges") || !strings.Contains(body, "\r\n01\r\n") {
		t.Errorf("two parts: HTTP %d %q", answer.StatusCode, body)
	}
}

func TestAFileThatIsNotAsStoredIsNotServed(t *testing.T) {
	t.Parallel()
	f, store, dir := fileIn(t)
	if err := os.WriteFile(filepath.Join(dir, f.Key), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if answer, body := ask(t, f, store, "GET"); answer.StatusCode != 418 || !strings.Contains(body, ErrAltered.Error()) {
		t.Errorf("HTTP %d %s", answer.StatusCode, body)
	}
	f.Key = "a/other.mp4"
	if answer, body := ask(t, f, store, "GET"); answer.StatusCode != 418 || !strings.Contains(body, archive.ErrNotFound.Error()) {
		t.Errorf("HTTP %d %s", answer.StatusCode, body)
	}
}

// A store with addresses of its own sends clients there, but for what it signs no address.
func TestAClientIsSentToAStoreThatHasAddresses(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "klingwatch-test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
	f, _, _ := fileIn(t)
	const setting = "s3://clips/kept?endpoint=http://127.0.0.1:1&region=us-east-1" // nothing listens there
	store, err := archive.Open(setting, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f.Name, f.Download = "clip.mp4", true
	answer, body := ask(t, f, store, "GET")
	at, err := url.Parse(answer.Header.Get("Location"))
	if answer.StatusCode != 302 || body != "" || err != nil || at.Host != "127.0.0.1:1" || at.Path != "/clips/kept/a/clip.mp4" || at.Query().Get("X-Amz-Expires") != "300" {
		t.Errorf("HTTP %d %v %q", answer.StatusCode, answer.Header, body)
	}
	if said := at.Query().Get("response-content-disposition"); !strings.Contains(said, "clip.mp4") || at.Query().Get("response-content-type") != "video/mp4" {
		t.Errorf("the store will say %q", at.RawQuery)
	}
	if got, _ := ask(t, f, store, "HEAD"); got.StatusCode != 418 { // it asked the store, which does not answer
		t.Errorf("HEAD: HTTP %d", got.StatusCode)
	}
	r := httptest.NewRequest("GET", "/", nil)
	if r.Header.Set("If-None-Match", `"other", "`+f.ETag+`"`); !f.isKnown(r) {
		t.Error("a client that has the file is sent for it again")
	}
}

func TestNamesOfDownloads(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"order-17-video-0.mp4": `inline; filename="order-17-video-0.mp4"`,
		"größe.mp4":            `inline; filename="gr__e.mp4"; filename*=utf-8''gr%C3%B6%C3%9Fe.mp4`,
		"a\"b\\c\r\nd%41.mp4":  `inline; filename="a_b_c__d_41.mp4"; filename*=utf-8''a%22b%5Cc%0D%0Ad%2541.mp4`,
		"it's (1).mp4":         `inline; filename="it's (1).mp4"`,
	} {
		if got := disposition(name, false); got != want {
			t.Errorf("%q gives %s, want %s", name, got, want)
		}
	}
	if got := disposition("a.png", true); got != `attachment; filename="a.png"` {
		t.Error(got)
	}
}

// noting is an answer that notes its last deadline.
type noting struct {
	*httptest.ResponseRecorder
	deadline time.Time
	set      int
}

// SetWriteDeadline notes it.
func (n *noting) SetWriteDeadline(at time.Time) error {
	n.deadline, n.set = at, n.set+1
	return nil
}

// The next answer on the same connection may come any time later.
func TestTheDeadlineOfAPartDoesNotOutliveTheAnswer(t *testing.T) {
	t.Parallel()
	f, store, _ := fileIn(t)
	w := &noting{ResponseRecorder: httptest.NewRecorder()}
	if err := Serve(t.Context(), w, httptest.NewRequest("GET", "/", nil), store, f); err != nil || w.Body.String() != text {
		t.Fatalf("%v %s", err, w.Body)
	}
	if !w.deadline.IsZero() || w.set != 2 {
		t.Errorf("%d deadlines, the last one %s", w.set, w.deadline)
	}
}

func TestAnAnswerEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f, store, _ := fileIn(t)
	ctx, cancel := context.WithCancel(t.Context())
	kept, err := store.Open(ctx, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	w := newWriter(ctx, httptest.NewRecorder(), time.Minute)
	cancel()
	if _, err := w.ReadFrom(&io.LimitedReader{R: kept, N: 5}); !errors.Is(err, context.Canceled) || w.end() != nil {
		t.Error(err)
	}
}

// A store that fails in the middle is told of; the client gets less than was announced.
func TestAStoreThatFailsInTheMiddleBreaksTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWriter(t.Context(), httptest.NewRecorder(), time.Minute)
	if _, err := w.ReadFrom(&io.LimitedReader{R: strings.NewReader("short"), N: 9}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if _, ok := errors.AsType[Broken](w.end()); !ok {
		t.Error("nobody is told")
	}
}

func TestAClientThatTakesNothingDoesNotHoldTheFile(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "large"))
	if err == nil {
		err = file.Truncate(256 << 20) // more than the system takes for a client, and no room on the disk
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ended := make(chan error, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := newWriter(r.Context(), w, 200*time.Millisecond)
		http.ServeContent(out, r, "", storedAt, file)
		ended <- out.err
		ended <- out.end()
	}))
	t.Cleanup(server.Close)
	answer, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	select {
	case why := <-ended:
		if told := <-ended; !errors.Is(why, os.ErrDeadlineExceeded) || told != nil { // it is no fault of ours
			t.Errorf("it ended with %v, and told %v", why, told)
		}
	case <-time.After(20 * time.Second):
		t.Error("it holds the file")
	}
}
