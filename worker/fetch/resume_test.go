package fetch_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/worker/fetch"
)

// flaky serves content as serves does, and closes the connection after each so many
// bytes.
func flaky(t testing.TB, content []byte, each int, change func(http.Header)) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = &atomic.Int32{}
	return host(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if change != nil {
			change(r.Header)
		}
		serves(content)(&cutting{ResponseWriter: w, left: each}, r)
	}), asked
}

// cutting ends the connection after some bytes of the body, which arrive.
type cutting struct {
	http.ResponseWriter
	left   int
	before func(net.Conn) // the end; nil: nothing
}

func (c *cutting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left > 0 || err != nil {
		return n, err
	}
	control := http.NewResponseController(c.ResponseWriter)
	_ = control.Flush()
	if conn, _, err := control.Hijack(); err == nil {
		if c.before != nil {
			c.before(conn)
		}
		conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// A reset takes along what waits in the kernel, so the host resets when a tenth has
// been read.
func TestADownloadGoesOnAfterAResetAtEachTenth(t *testing.T) {
	t.Parallel()
	const tenth = 128 << 10
	content := clip(10 * tenth)
	arrived := make(chan int64, 100)
	var asked atomic.Int64
	url := host(t, func(w http.ResponseWriter, r *http.Request) {
		until := asked.Add(1) * tenth
		serves(content)(&cutting{ResponseWriter: w, left: tenth, before: func(conn net.Conn) {
			for have := range arrived {
				if have == until {
					break
				}
			}
			_ = conn.(*net.TCPConn).SetLinger(0)
		}}, r)
	})
	into := local(t)
	file, err := newClient(fetch.Config{}).Fetch(t.Context(), fetch.Source{URL: url}, into, func(have, _ int64) { arrived <- have })
	if err != nil {
		t.Fatal(err)
	}
	check(t, into, file, content)
	if n := asked.Load(); n != 10 {
		t.Errorf("asked %d times for ten pieces", n)
	}
}

// modified is a Last-Modified that is old enough to tell versions apart.
const modified = "Mon, 02 Nov 2026 10:00:00 GMT"

func TestTheRestIsAskedForOnlyOfTheSameFile(t *testing.T) {
	t.Parallel()
	old, changed := clip(400_000), clip(300_000)
	for name, c := range map[string]struct {
		first, second map[string]string // headers of the two answers
		ranged        bool              // whether the second request asks for the rest
	}{
		"strong ETag":             {map[string]string{"ETag": `"1"`}, map[string]string{"ETag": `"2"`}, true},
		"weak ETag":               {map[string]string{"ETag": `W/"1"`}, nil, false},
		"broken ETag":             {map[string]string{"ETag": `1`}, nil, false},
		"an old Last-Modified":    {map[string]string{"Last-Modified": modified}, nil, true},
		"a Last-Modified of now":  {map[string]string{"Last-Modified": modified, "Date": modified}, nil, false},
		"neither":                 {nil, nil, false},
		"a strong one beside it":  {map[string]string{"ETag": `"1"`, "Last-Modified": modified}, nil, true},
		"a weak one and the date": {map[string]string{"ETag": `W/"1"`, "Last-Modified": modified}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			var ranged atomic.Bool
			url := host(t, func(w http.ResponseWriter, r *http.Request) {
				headers, content := c.first, old
				if asked.Add(1) > 1 {
					headers, content = c.second, changed // the host has a new file, and begins anew
					ranged.Store(r.Header.Get("Range") != "" && r.Header.Get("If-Range") != "")
				}
				for name, value := range headers {
					w.Header().Set(name, value)
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(content)))
				if asked.Load() == 1 {
					w = &cutting{ResponseWriter: w, left: 350_000}
				}
				_, _ = w.Write(content)
			})
			into, file, err := fetched(t, fetch.Config{}, url)
			if err != nil {
				t.Fatal(err)
			}
			check(t, into, file, changed)
			if ranged.Load() != c.ranged || asked.Load() != 2 {
				t.Errorf("asked %d times, for the rest: %v", asked.Load(), ranged.Load())
			}
		})
	}
}

// A part that does not fit is never joined: the file is taken from its beginning.
func TestAPartThatDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	content := clip(200_000)
	const have = 150_000
	rest := string(content[have:])
	for name, answer := range map[string]string{
		"another beginning":     "Content-Range: bytes 100000-199999/200000\r\nContent-Length: 100000\r\n\r\n" + string(content[100_000:]),
		"another total":         "Content-Range: bytes 150000-199999/200001\r\nContent-Length: 50000\r\n\r\n" + rest,
		"no total":              "Content-Range: bytes 150000-199999/*\r\nContent-Length: 50000\r\n\r\n" + rest,
		"no range":              "Content-Length: 50000\r\n\r\n" + rest,
		"another unit":          "Content-Range: pages 150000-199999/200000\r\nContent-Length: 50000\r\n\r\n" + rest,
		"an end before":         "Content-Range: bytes 150000-140000/200000\r\nContent-Length: 50000\r\n\r\n" + rest,
		"an end beyond":         "Content-Range: bytes 150000-200000/200000\r\nContent-Length: 50001\r\n\r\n" + rest + "x",
		"a negative number":     "Content-Range: bytes 150000--1/200000\r\nContent-Length: 50000\r\n\r\n" + rest,
		"a huge number":         "Content-Range: bytes 150000-99999999999999999999/200000\r\nContent-Length: 50000\r\n\r\n" + rest,
		"another length":        "Content-Range: bytes 150000-199999/200000\r\nContent-Length: 49999\r\n\r\n" + rest,
		"a smaller total":       "Content-Range: bytes 150000-179999/180000\r\nContent-Length: 30000\r\n\r\n" + rest[:30_000],
		"another ETag":          "ETag: \"2\"\r\nContent-Range: bytes 150000-199999/200000\r\nContent-Length: 50000\r\n\r\n" + strings.Repeat("x", 50_000),
		"an encoding":           "Content-Encoding: gzip\r\nContent-Range: bytes 150000-199999/200000\r\nContent-Length: 50000\r\n\r\n" + rest,
		"several parts":         "Content-Type: multipart/byteranges; boundary=x\r\nContent-Length: 4\r\n\r\n--x-",
		"more than it promises": "Content-Range: bytes 150000-150009/200000\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n01234567890123456789\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			url := raw(t, func(conn net.Conn, r *http.Request) {
				whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: %d\r\n\r\n", len(content))
				switch asked.Add(1); {
				case asked.Load() == 1:
					says(whole+string(content[:have]))(conn, r)
				case r.Header.Get("Range") != "":
					says("HTTP/1.1 206 Partial Content\r\n"+answer)(conn, r)
				default:
					says(whole+string(content))(conn, r)
				}
			})
			into, file, err := fetched(t, fetch.Config{}, url)
			if err != nil {
				t.Fatal(err)
			}
			check(t, into, file, content)
		})
	}
}

// A host may send less than the rest (RFC 9110, 15.3.7): the next request goes on.
func TestAShorterPartIsTaken(t *testing.T) {
	t.Parallel()
	content := clip(200_000)
	var asked atomic.Int32
	url := host(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1); r.Header.Get("Range") == "" {
			serves(content)(&cutting{ResponseWriter: w, left: 100_000}, r)
			return
		}
		var from int
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+24_999))
		serves(content)(w, r)
	})
	into, file, err := fetched(t, fetch.Config{}, url)
	if err != nil {
		t.Fatal(err)
	}
	check(t, into, file, content)
	if asked.Load() != 5 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestAHostWithoutRangesIsAskedAnew(t *testing.T) {
	t.Parallel()
	content := clip(500_000)
	for name, second := range map[string]int{"it ignores them": http.StatusOK, "it refuses them": http.StatusRequestedRangeNotSatisfiable} {
		var asked atomic.Int32
		url := host(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" && second != http.StatusOK {
				w.WriteHeader(second)
				return
			}
			r.Header.Del("Range")
			if asked.Add(1) == 1 {
				w = &cutting{ResponseWriter: w, left: 400_000}
			}
			serves(content)(w, r)
		})
		into, file, err := fetched(t, fetch.Config{}, url)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		check(t, into, file, content)
	}
}

func TestTriesWithoutANewByteAreFew(t *testing.T) {
	t.Parallel()
	content := clip(1 << 20)
	url, asked := flaky(t, content, 600_000, func(h http.Header) { h.Del("Range") }) // each time as far, and no further
	_, _, err := fetched(t, fetch.Config{}, url)
	refused(t, err, fetch.Trouble, "")
	if n := asked.Load(); n > 8 {
		t.Errorf("asked %d times", n)
	}
	url, asked = flaky(t, content, 1, nil) // a byte more each time
	_, _, err = fetched(t, fetch.Config{}, url)
	refused(t, err, fetch.Trouble, "")
	if n := asked.Load(); n > 8 {
		t.Errorf("asked %d times", n)
	}
}

// A host that is overloaded between two parts does not cost what is here already,
// unless it asks for a long wait.
func TestTroubleBetweenTwoParts(t *testing.T) {
	t.Parallel()
	content := clip(500_000)
	between := func(status int, retryAfter string) (string, *atomic.Int32) {
		var asked atomic.Int32
		return host(t, func(w http.ResponseWriter, r *http.Request) {
			switch asked.Add(1) {
			case 1:
				serves(content)(&cutting{ResponseWriter: w, left: 400_000}, r)
			case 2, 3:
				w.Header().Set("Retry-After", retryAfter)
				w.WriteHeader(status)
			default:
				if r.Header.Get("Range") != "bytes=400000-" {
					t.Errorf("asked for %q", r.Header.Get("Range"))
				}
				serves(content)(w, r)
			}
		}), &asked
	}
	url, _ := between(503, "")
	into, file, err := fetched(t, fetch.Config{}, url)
	if err != nil {
		t.Fatal(err)
	}
	check(t, into, file, content)

	began := time.Now()
	url, asked := between(429, "600")
	_, _, err = fetched(t, fetch.Config{}, url)
	refused(t, err, fetch.Trouble, "HTTP 429")
	if asked.Load() != 2 || time.Since(began) > time.Minute {
		t.Errorf("asked %d times in %s", asked.Load(), time.Since(began))
	}

	url, asked = between(403, "")
	_, _, err = fetched(t, fetch.Config{}, url) // the URL expired while it was used
	refused(t, err, fetch.Gone, "HTTP 403")
	if asked.Load() != 2 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestADataURLIsAFile(t *testing.T) {
	t.Parallel()
	gif := "GIF89a\x01\x00\x01\x00"
	for _, url := range []string{"data:image/gif;base64,R0lGODlhAQABAA==", "data:image/gif;base64,R0lGODlhAQABAA", "data:image/gif;base64,R0lG%0AODlhAQABAA%3D%3D", "data:;base64,R0lG ODlhAQABAA", "data:image/gif,GIF89a%01%00%01%00"} {
		into := local(t)
		file, err := newClient(fetch.Config{}).Fetch(t.Context(), fetch.Source{URL: url, Kind: "image"}, into, nil)
		if err != nil || file.ContentType != "image/gif" {
			t.Fatalf("%s: %+v, %v", url, file, err)
		}
		check(t, into, file, []byte(gif))
	}
	for _, url := range []string{"data:", "data:image/gif;base64,", "data:image/gif;base64,!!!", "data:text/html,<html>", "data:image/gif", "data:image/gif,%zz"} {
		_, err := newClient(fetch.Config{}).Fetch(t.Context(), fetch.Source{URL: url, Kind: "image"}, local(t), nil)
		refused(t, err, fetch.NotAFile, "data: URL")
	}
	_, err := newClient(fetch.Config{MaxBytes: 5}).Fetch(t.Context(), fetch.Source{URL: "data:image/gif,GIF89a"}, local(t), nil)
	refused(t, err, fetch.TooLarge, "5 bytes")
}

// A local file that holds something already, such as the rest of an earlier fetch.
func TestNothingOfAnEarlierFetchStays(t *testing.T) {
	t.Parallel()
	into := written(t, bytes.Repeat([]byte("old"), 100_000))
	content := clip(1000)
	file, err := newClient(fetch.Config{}).Fetch(t.Context(), fetch.Source{URL: host(t, serves(content))}, into, nil)
	if err != nil {
		t.Fatal(err)
	}
	check(t, into, file, content)
	if strings.Contains(file.Ext, ".") {
		t.Errorf("%q", file.Ext)
	}
}
