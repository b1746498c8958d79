package klingapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/klingwatch/klingwatch/klingapi"
)

// Benchmarks of one exchange about a task that runs or has ended, beside what net/http
// takes for the same by itself:
//
//	go test ./klingapi -run '^$' -bench Exchange -benchmem
//
// The server answers in bare bytes, so that all objects are the client's.

func BenchmarkExchange(b *testing.B) {
	running, ended := golden(b, "official-processing-null-result.json"), golden(b, "official-video.json")
	b.Run("bare", func(b *testing.B) { benchmarkBare(b, running) })
	b.Run("running", func(b *testing.B) { benchmarkGetTask(b, running, false) })
	b.Run("unchanged", func(b *testing.B) { benchmarkGetTask(b, running, true) })
	b.Run("ended", func(b *testing.B) { benchmarkGetTask(b, ended, false) })
}

// benchmarkBare sends the request of GetTask and reads the body, with nothing around it.
func benchmarkBare(b *testing.B, body []byte) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	defer transport.CloseIdleConnections()
	address := answering(b, body) + "/kling/v1/videos/text2video/867283741759111202"
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Authorization": {"Bearer sk-test"}, "User-Agent": {"klingwatch"}}
	read := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), klingapi.DefaultTimeout)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Header = header
		res, err := transport.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = res.Body.Read(read)
		}
		_ = res.Body.Close()
		cancel()
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}

// benchmarkGetTask asks anew each time, or, with again, as one who knows the answer.
func benchmarkGetTask(b *testing.B, body []byte, again bool) {
	client, err := klingapi.New(klingapi.Config{BaseURL: answering(b, body), Credential: klingapi.StaticKey("sk-test")})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	var known klingapi.Known
	b.ReportAllocs()
	for b.Loop() {
		reply, err := client.GetTaskAgain(b.Context(), video, known)
		if err != nil || (reply.Body == nil) != (known != klingapi.Known{}) {
			b.Fatal(err, "or it was read without need")
		}
		if again {
			known = reply.Known
		}
	}
}

// answering starts a server that answers every request alike, and returns its URL.
func answering(b *testing.B, body []byte) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 26 Nov 2026 12:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go answerAll(conn, answer)
		}
	}()
	return "http://" + listener.Addr().String()
}

// answerAll answers each request of a connection, which fits into one packet.
func answerAll(conn net.Conn, answer []byte) {
	defer conn.Close()
	request := make([]byte, 4096)
	for {
		n, err := conn.Read(request)
		if err != nil || !bytes.HasSuffix(request[:n], []byte("\r\n\r\n")) {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}
