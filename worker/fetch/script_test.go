package fetch_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/klingwatch/klingwatch/worker/fetch"
)

// mischief is what a host does with one request. place is from 0 to 1.
type mischief func(s *scripted, w io.Writer, r *http.Request, place float64)

// scripted is a host with a file of several versions, and a plan of what it does.
type scripted struct {
	mu       sync.Mutex
	versions [][]byte
	version  atomic.Int64 // a connection may still be served when the next one asks
	plan     []mischief
	places   []float64
	own      string // its address
}

func (s *scripted) content() (content []byte, tag string) {
	version := s.version.Load()
	return s.versions[version], fmt.Sprintf("ETag: \"%d\"\r\n", version)
}

// part is what a good host sends: the rest, if it is asked for and of this version.
func (s *scripted) part(r *http.Request) (head string, body []byte) {
	content, tag := s.content()
	var from int
	_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
	if err != nil || "ETag: "+r.Header.Get("If-Range")+"\r\n" != tag || from >= len(content) {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n", tag, len(content)), content
	}
	head = fmt.Sprintf("HTTP/1.1 206 Partial Content\r\n%sContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n", tag, from, len(content)-1, len(content), len(content)-from)
	return head, content[from:]
}

// renew goes on to the next version, if there is one.
func (s *scripted) renew() {
	if version := s.version.Load(); version < int64(len(s.versions)-1) {
		s.version.CompareAndSwap(version, version+1)
	}
}

func cutAt(body []byte, place float64) []byte { return body[:int(place*float64(len(body)))] }

func pack(content []byte) []byte {
	var packed bytes.Buffer
	zipper := gzip.NewWriter(&packed)
	_, _ = zipper.Write(content)
	_ = zipper.Close()
	return packed.Bytes()
}

func answers(text string) mischief {
	return func(_ *scripted, w io.Writer, _ *http.Request, _ float64) { _, _ = io.WriteString(w, text) }
}

// mischiefs by name: rapid prints what it drew.
var mischiefs = map[string]mischief{
	"good": func(s *scripted, w io.Writer, r *http.Request, _ float64) {
		head, body := s.part(r)
		_, _ = w.Write(append([]byte(head), body...))
	},
	"cut": func(s *scripted, w io.Writer, r *http.Request, place float64) {
		head, body := s.part(r)
		_, _ = w.Write(append([]byte(head), cutAt(body, place)...))
	},
	"reset": func(s *scripted, w io.Writer, r *http.Request, place float64) {
		head, body := s.part(r)
		_, _ = w.Write(append([]byte(head), cutAt(body, place)...))
		_ = w.(*net.TCPConn).SetLinger(0)
	},
	"no ranges": func(s *scripted, w io.Writer, r *http.Request, place float64) {
		content, tag := s.content()
		_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", tag, len(content), cutAt(content, place))
	},
	"chunked": func(s *scripted, w io.Writer, _ *http.Request, _ float64) {
		content, tag := s.content()
		_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", tag, len(content), content)
	},
	"chunked and cut": func(s *scripted, w io.Writer, _ *http.Request, place float64) {
		content, tag := s.content()
		half := cutAt(content, place)
		_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", tag, len(half), half)
	},
	"no length": func(s *scripted, w io.Writer, _ *http.Request, _ float64) {
		content, tag := s.content()
		_, _ = fmt.Fprintf(w, "HTTP/1.0 200 OK\r\n%s\r\n%s", tag, content)
	},
	"no length and cut": func(s *scripted, w io.Writer, _ *http.Request, place float64) {
		content, tag := s.content()
		_, _ = fmt.Fprintf(w, "HTTP/1.0 200 OK\r\n%s\r\n%s", tag, cutAt(content, place))
	},
	"gzip": func(s *scripted, w io.Writer, _ *http.Request, _ float64) {
		content, tag := s.content()
		_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\n%sContent-Encoding: gzip\r\n\r\n%s", tag, pack(content))
	},
	"gzip and cut": func(s *scripted, w io.Writer, _ *http.Request, place float64) {
		content, tag := s.content()
		_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\n%sContent-Encoding: gzip\r\n\r\n%s", tag, cutAt(pack(content), place))
	},
	"broken gzip": func(s *scripted, w io.Writer, _ *http.Request, place float64) {
		content, tag := s.content()
		packed := pack(content)
		packed[int(place*float64(len(packed)-1))] ^= 1
		_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\n%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", tag, len(packed), packed)
	},
	"too long a length": func(s *scripted, w io.Writer, _ *http.Request, _ float64) {
		content, tag := s.content()
		_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", tag, len(content)+1, content)
	},
	"another part": func(s *scripted, w io.Writer, _ *http.Request, place float64) {
		content, tag := s.content()
		from := int(place * float64(len(content)-1))
		_, _ = fmt.Fprintf(w, "HTTP/1.1 206 Partial Content\r\n%sContent-Range: bytes %d-%d/%d\r\n\r\n%s", tag, from, len(content)-1, len(content), content[from:])
	},
	"more than the part": func(s *scripted, w io.Writer, r *http.Request, _ float64) {
		head, body := s.part(r)
		if before, _, _ := strings.Cut(head, "Content-Length"); strings.Contains(head, "206") {
			head, body = before+"\r\n", append(bytes.Clone(body), body...)
		}
		_, _ = w.Write(append([]byte(head), body...))
	},
	"a new version": func(s *scripted, w io.Writer, r *http.Request, _ float64) {
		s.renew()
		head, body := s.part(r)
		_, _ = w.Write(append([]byte(head), body...))
	},
	"a new version and cut": func(s *scripted, w io.Writer, r *http.Request, place float64) {
		s.renew()
		head, body := s.part(r)
		_, _ = w.Write(append([]byte(head), cutAt(body, place)...))
	},
	"endless": func(s *scripted, w io.Writer, _ *http.Request, _ float64) {
		content, _ := s.content()
		_, err := fmt.Fprintf(w, "HTTP/1.1 200 OK\r\n\r\n%s", content)
		for err == nil {
			_, err = w.Write(content)
		}
	},
	"drip": func(s *scripted, w io.Writer, r *http.Request, place float64) {
		head, body := s.part(r)
		begin := len(cutAt(body, place/2))
		_, err := w.Write(append([]byte(head), body[:begin]...))
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for ; err == nil && begin < len(body); begin++ {
			<-pace.C
			_, err = w.Write(body[begin : begin+1])
		}
	},
	"silent": func(_ *scripted, w io.Writer, _ *http.Request, _ float64) {
		_, _ = io.Copy(io.Discard, w.(*net.TCPConn))
	},
	"here and there": func(s *scripted, w io.Writer, _ *http.Request, _ float64) {
		_, _ = fmt.Fprintf(w, "HTTP/1.1 302 Found\r\nLocation: http://%s/\r\nContent-Length: 0\r\n\r\n", s.own)
	},
	"hangs up":  func(*scripted, io.Writer, *http.Request, float64) {},
	"no HTTP":   answers("SSH-2.0-OpenSSH_9.2\r\n"),
	"metadata":  answers("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"),
	"HTML":      answers("HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 6\r\n\r\n<html>"),
	"JSON":      answers("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"code\":404"),
	"empty":     answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
	"403":       answers("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
	"416":       answers("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n"),
	"429":       answers("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0.001\r\nContent-Length: 0\r\n\r\n"),
	"500":       answers("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"),
	"100 of it": answers(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100) + "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"),
}

// answer follows the plan; after its end the host is good.
func (s *scripted) answer(conn net.Conn, r *http.Request) {
	s.mu.Lock()
	act, place := mischiefs["good"], 0.0
	if len(s.plan) > 0 {
		act, place = s.plan[0], s.places[0]
		s.plan, s.places = s.plan[1:], s.places[1:]
	}
	s.mu.Unlock()
	act(s, conn, r, place)
}

// Whatever a host does, a fetch ends soon, with the true content of one version and
// its right sha256, or with an error that says what to do.
func TestWhateverAHostDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := &scripted{}
		for range 3 {
			version := clip(rapid.IntRange(1000, 400_000).Draw(rt, "size"))
			version[40] = byte(len(s.versions)) // inside of mdat
			s.versions = append(s.versions, version)
		}
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(names(mischiefs)), 0, 12).Draw(rt, "plan") {
			s.plan = append(s.plan, mischiefs[name])
			s.places = append(s.places, rapid.Float64Range(0, 1).Draw(rt, "place"))
		}
		address, stop, err := listen(s.answer)
		if err != nil {
			rt.Fatal(err)
		}
		defer stop()
		s.own = address
		into := local(t)
		defer into.Close()
		s.check(rt, into)
	})
}

func (s *scripted) check(rt *rapid.T, into *os.File) {
	cfg := fetch.Config{MaxBytes: 1 << 20, Stall: 20 * time.Millisecond, MinProgress: 1000, Pause: time.Microsecond}
	began := time.Now()
	file, err := newClient(cfg).Fetch(rt.Context(), fetch.Source{URL: "http://" + s.own + "/?secret", Kind: "video"}, into, nil)
	if took := time.Since(began); took > 20*time.Second {
		rt.Fatalf("it took %s", took)
	}
	if err != nil {
		if fetch.ReasonOf(err) == "" || strings.ContainsAny(err.Error(), "\n?") {
			rt.Fatalf("%q: %v", fetch.ReasonOf(err), err)
		}
		return
	}
	content, err := os.ReadFile(into.Name())
	if err != nil {
		rt.Fatal(err)
	}
	for _, version := range s.versions {
		if bytes.Equal(content, version) && file.Bytes == int64(len(version)) && file.SHA256 == digest(version) {
			return
		}
	}
	rt.Fatalf("%d bytes that are no version, %+v", len(content), file)
}

func names(all map[string]mischief) []string {
	list := make([]string, 0, len(all))
	for name := range all {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}
