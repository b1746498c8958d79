package fetch_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/worker/fetch"
)

// fetched fetches a video with an impatient client.
func fetched(t testing.TB, cfg fetch.Config, url string) (*os.File, fetch.File, error) {
	t.Helper()
	into := local(t)
	file, err := newClient(cfg).Fetch(t.Context(), fetch.Source{URL: url, Kind: "video"}, into, nil)
	return into, file, err
}

// refused fails unless an error has the reason, and is one line without secrets that
// contains the hint.
func refused(t testing.TB, err error, reason fetch.Reason, hint string) {
	t.Helper()
	if fetch.ReasonOf(err) != reason {
		t.Errorf("%v is %q, want %q", err, fetch.ReasonOf(err), reason)
		return
	}
	if text := err.Error(); !strings.Contains(text, hint) || strings.ContainsAny(text, "\n?") || strings.Contains(text, "secret") {
		t.Errorf("the text is %q, want one line with %q and no secret", text, hint)
	}
}

// raw serves each connection of a host by a function, after it has read a request.
func raw(t testing.TB, answer func(conn net.Conn, request *http.Request)) string {
	t.Helper()
	address, stop, err := listen(answer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return "http://" + address + "/a.mp4?sig=secret"
}

func listen(answer func(conn net.Conn, request *http.Request)) (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				if request, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					answer(conn, request)
				}
			})
		}
	})
	return listener.Addr().String(), func() { listener.Close(); conns.Wait() }, nil
}

// says answers with a text, and closes.
func says(text string) func(net.Conn, *http.Request) {
	return func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, text) }
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	t.Parallel()
	png := "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 1000)
	for name, c := range map[string]struct{ contentType, body, hint string }{
		"HTML":                      {"text/html", "<!DOCTYPE html><html>expired", "an HTML page instead of a video"},
		"HTML that calls itself so": {"video/mp4", "  <html><body>expired", "an HTML page"},
		"JSON":                      {"application/json", `{"error":"secret"}`, "JSON instead of a video"},
		"JSON that calls itself so": {"video/mp4", "\n" + `[1]`, "JSON"},
		"XML":                       {"video/mp4", `<?xml version="1.0"?><Error><Code>AccessDenied`, "XML"},
		"text":                      {"video/mp4", "not found", "a text"},
		"nothing":                   {"video/mp4", "", "empty"},
		"zeros":                     {"video/mp4", strings.Repeat("\x00", 10_000), "unknown format"},
		"a picture":                 {"video/mp4", png, "an image (image/png) instead of a video"},
		"a PDF":                     {"video/mp4", "%PDF-1.7 ...", "application/pdf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := host(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.contentType)
				_, _ = io.WriteString(w, c.body)
			})
			_, _, err := fetched(t, fetch.Config{}, url+"/a.mp4?sig=secret")
			refused(t, err, fetch.NotAFile, c.hint)
		})
	}
}

// An endless page is left at its first bytes.
func TestAnEndlessPageIsNotReadToItsCap(t *testing.T) {
	t.Parallel()
	url := raw(t, func(conn net.Conn, _ *http.Request) {
		_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n<html>")
		for err == nil {
			_, err = io.WriteString(conn, strings.Repeat("x", 4096))
		}
	})
	_, _, err := fetched(t, fetch.Config{}, url)
	refused(t, err, fetch.NotAFile, "HTML")
}

func TestAStatusSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]struct {
		reason fetch.Reason
		after  time.Duration
	}{
		400: {fetch.Gone, 0}, 401: {fetch.Gone, 0}, 403: {fetch.Gone, 0}, 404: {fetch.Gone, 0}, 410: {fetch.Gone, 0}, 451: {fetch.Gone, 0},
		408: {fetch.Trouble, 7 * time.Second}, 429: {fetch.Trouble, 7 * time.Second}, 500: {fetch.Trouble, 7 * time.Second}, 503: {fetch.Trouble, 7 * time.Second},
		204: {fetch.NotAFile, 0}, 206: {fetch.Trouble, 7 * time.Second}, 302: {fetch.Trouble, 7 * time.Second}, 304: {fetch.Trouble, 7 * time.Second}, 416: {fetch.Trouble, 7 * time.Second},
	} {
		var asked atomic.Int32
		url := host(t, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		})
		_, _, err := fetched(t, fetch.Config{}, url+"?secret")
		refused(t, err, want.reason, "HTTP "+strconv.Itoa(status))
		var failure *fetch.Error
		if errors.As(err, &failure) && failure.RetryAfter != want.after {
			t.Errorf("HTTP %d: again after %s", status, failure.RetryAfter)
		}
		if asked.Load() != 1 {
			t.Errorf("HTTP %d: asked %d times: the caller knows better when to come back", status, asked.Load())
		}
	}
}

func TestALargeFileIsRefused(t *testing.T) {
	t.Parallel()
	cfg := fetch.Config{MaxBytes: 1 << 20}
	_, _, err := fetched(t, cfg, raw(t, says("HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n")))
	refused(t, err, fetch.TooLarge, "1048576 bytes")
	endless := func(head string) string {
		return raw(t, func(conn net.Conn, _ *http.Request) {
			_, err := io.WriteString(conn, head)
			content := clip(1 << 16)
			for err == nil {
				_, err = fmt.Fprintf(conn, "10000\r\n%s\r\n", content)
			}
		})
	}
	into, _, err := fetched(t, cfg, endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
	refused(t, err, fetch.TooLarge, "1048576 bytes")
	if info, _ := into.Stat(); info.Size() > cfg.MaxBytes {
		t.Errorf("%d bytes were written", info.Size())
	}
	content := clip(1 << 20)
	into, file, err := fetched(t, cfg, host(t, serves(content)))
	if err != nil {
		t.Fatalf("a file of just this size: %v", err)
	}
	check(t, into, file, content)
}

// unpacked, this is a thousand times as large.
func TestAGzipBombEndsAtTheCap(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	zipper := gzip.NewWriter(&packed)
	_, _ = zipper.Write(clip(1000))
	_, _ = zipper.Write(make([]byte, 4<<20))
	_ = zipper.Close()
	url := host(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	_, _, err := fetched(t, fetch.Config{MaxBytes: 1 << 18}, url)
	refused(t, err, fetch.TooLarge, "262144")
}

// A host that packs unasked must not cost the clip.
func TestAPackedFileIsKeptUnpacked(t *testing.T) {
	t.Parallel()
	content := clip(300_000)
	var packed bytes.Buffer
	zipper := gzip.NewWriter(&packed)
	_, _ = zipper.Write(content)
	_ = zipper.Close()
	for name, c := range map[string]struct {
		encoding string
		body     []byte
	}{
		"gzip": {"gzip", packed.Bytes()}, "x-gzip": {"X-Gzip", packed.Bytes()}, "identity": {"identity", content}, "it only says so": {"gzip", content},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var accepted atomic.Value
			cut := atomic.Int32{}
			url := host(t, func(w http.ResponseWriter, r *http.Request) {
				accepted.Store(r.Header.Get("Accept-Encoding"))
				w.Header().Set("Content-Encoding", c.encoding)
				w.Header().Set("Content-Length", strconv.Itoa(len(c.body)))
				w.Header().Set("ETag", `"1"`)
				if r.Header.Get("Range") != "" && strings.Contains(c.encoding, "zip") {
					t.Error("asked for a range of packed bytes, which are gone")
				}
				if cut.Add(1) == 1 {
					_, _ = w.Write(c.body[:len(c.body)/2])
					panic(http.ErrAbortHandler)
				}
				_, _ = w.Write(c.body) // without ranges
			})
			into, file, err := fetched(t, fetch.Config{}, url)
			if err != nil {
				t.Fatal(err)
			}
			check(t, into, file, content)
			if accepted.Load() != "identity" {
				t.Errorf("asked for %q", accepted.Load())
			}
		})
	}
	_, _, err := fetched(t, fetch.Config{}, raw(t, says("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nxxxx")))
	refused(t, err, fetch.NotAFile, "br")
}

func TestALengthThatIsWrong(t *testing.T) {
	t.Parallel()
	content := clip(100_000)
	_, _, err := fetched(t, fetch.Config{}, raw(t, says("HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n"+string(content))))
	refused(t, err, fetch.Trouble, "before the end")
	// HTTP knows no byte beyond the length: what follows is no part of the file, nor of any other
	into, file, err := fetched(t, fetch.Config{}, raw(t, says("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"+string(content))))
	if err != nil {
		t.Fatal(err)
	}
	check(t, into, file, content[:99_999])
	_, _, err = fetched(t, fetch.Config{}, raw(t, says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n"+string(content))))
	refused(t, err, fetch.Trouble, "before the end")
}

// Five bytes a moment keep a connection alive, but hold a turn that others wait for.
func TestASlowHostIsLeft(t *testing.T) {
	t.Parallel()
	drips := raw(t, func(conn net.Conn, _ *http.Request) {
		_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+string(clip(1000)))
		for pace := time.Tick(time.Millisecond); err == nil; <-pace {
			_, err = io.WriteString(conn, "drip.")
		}
	})
	silent := raw(t, func(conn net.Conn, _ *http.Request) { _, _ = io.Copy(io.Discard, conn) })
	stops := raw(t, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+string(clip(1000)))
		_, _ = io.Copy(io.Discard, conn)
	})
	for name, url := range map[string]string{"drips": drips, "silent": silent, "stops": stops} {
		_, _, err := fetched(t, fetch.Config{Stall: 50 * time.Millisecond}, url)
		if fetch.ReasonOf(err) != fetch.Trouble || !strings.Contains(err.Error(), "too little") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nothing bounds the whole: a large file on a slow line may take an hour.
func TestAHostThatIsSteadyMayTakeItsTime(t *testing.T) {
	t.Parallel()
	const window = 250 * time.Millisecond
	content := clip(64_000)
	began := time.Now()
	url := raw(t, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 64000\r\n\r\n")
		pace := time.NewTicker(window / 16)
		defer pace.Stop()
		for rest := content; len(rest) > 0; rest = rest[1000:] {
			_, _ = conn.Write(rest[:1000])
			<-pace.C
		}
	})
	into, file, err := fetched(t, fetch.Config{Stall: window, MinProgress: 2000}, url)
	if err != nil || time.Since(began) < 3*window {
		t.Fatalf("%v after %s", err, time.Since(began))
	}
	check(t, into, file, content)
}

func TestAFetchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	left := errors.New("the process ends")
	url := raw(t, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+string(clip(1000)))
		cancel(left)
		_, _ = io.Copy(io.Discard, conn)
	})
	if _, err := newClient(fetch.Config{}).Fetch(ctx, fetch.Source{URL: url}, local(t), nil); !errors.Is(err, left) || fetch.ReasonOf(err) != "" {
		t.Errorf("%v", err)
	}
}

func TestAFullDiskIsNotTheHostsFault(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer full.Close()
	_, err = newClient(fetch.Config{}).Fetch(t.Context(), fetch.Source{URL: host(t, serves(clip(1000)))}, full, nil)
	if err == nil || fetch.ReasonOf(err) != "" {
		t.Errorf("%v", err)
	}
}

func TestPrivateAddressesAreNotReached(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	url := host(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	none := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, target := range []string{url, strings.Replace(url, "127.0.0.1", "localhost", 1), strings.Replace(url, "127.0.0.1", "[::ffff:127.0.0.1]", 1), "http://169.254.169.254/latest/meta-data?secret", "http://10.0.0.1/", "http://[fd00:ec2::254]/"} {
		_, _, err := fetched(t, fetch.Config{AllowNetworks: none}, target)
		refused(t, err, fetch.Forbidden, "KLINGWATCH_ARCHIVE_ALLOW_NETWORKS")
	}
	if asked.Load() != 0 {
		t.Errorf("loopback was reached %d times", asked.Load())
	}
	for _, target := range []string{"ftp://example.com/secret", "file:///etc/passwd?secret", "/etc/secret", "", "http://", "gopher://secret", "http://a b/secret"} {
		_, _, err := fetched(t, fetch.Config{}, target)
		refused(t, err, fetch.Forbidden, "URL")
	}
}
