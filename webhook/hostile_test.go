package webhook_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/webhook"
)

const anAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"

// drips answers with head, then with a byte per millisecond until the client hangs up.
func drips(head string) func(net.Conn) {
	return func(conn net.Conn) {
		readRequest(conn)
		_, err := io.WriteString(conn, head)
		for pace := time.Tick(time.Millisecond); err == nil; <-pace {
			_, err = io.WriteString(conn, "x")
		}
	}
}

// floods answers with head, then with the same text until the client hangs up.
func floods(head, text string) func(net.Conn) {
	return func(conn net.Conn) {
		readRequest(conn)
		_, err := io.WriteString(conn, head)
		for err == nil {
			_, err = io.WriteString(conn, text)
		}
	}
}

// resets answers with head and breaks the connection off.
func resets(head string) func(net.Conn) {
	return func(conn net.Conn) {
		readRequest(conn)
		_, _ = io.WriteString(conn, head)
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
}

// refusesEarly answers as soon as the first byte arrives and closes on the rest.
func refusesEarly(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1))
	_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

// A 2xx is a delivery, whatever happens to the body; without a status there is none.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		answer func(net.Conn)
		status int
		class  string
		reason string // part of it
	}{
		{"HTTP/1.0", says("HTTP/1.0 200 OK\r\n\r\nthanks"), 200, "", ""},
		{"no reason phrase", says("HTTP/1.1 204\r\n\r\n"), 204, "", ""},
		{"endless body", floods("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 4096)), 200, "", ""},
		{"reset in the body", resets(anAnswer + "tha"), 200, "", ""},
		{"body shorter than promised", says(anAnswer + "thanks"), 200, "", ""},
		{"broken chunks", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthanks and no chunk"), 200, "", ""},
		{"gzip that is none", says("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nthanks"), 200, "", ""},
		{"several early hints", says(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 9) + "HTTP/1.1 204 No Content\r\n\r\n"), 204, "", ""},
		{"answer before the body is read", refusesEarly, 413, webhook.ErrorHTTPStatus, "body limit"},
		{"another protocol", func(conn net.Conn) {
			says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")(conn)
			_, _ = io.Copy(io.Discard, conn) // until the client hangs up
		}, 101, webhook.ErrorHTTPStatus, "HTTP 101"},
		{"metadata of the cloud", says("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest?x\r\nContent-Length: 0\r\n\r\n"), 302, webhook.ErrorRedirectRefused, `to "http://169.254.169.254/latest";`},
		{"hangs up", says(""), 0, webhook.ErrorNetwork, "closed the connection before it answered"},
		{"reset before the status", resets(""), 0, webhook.ErrorNetwork, "closed the connection before it answered"},
		{"cut in the headers", says("HTTP/1.1 200 OK\r\nServer: x"), 0, webhook.ErrorNetwork, "closed the connection before it answered"},
		{"not HTTP", says("SSH-2.0-OpenSSH_9.6\r\n\x1b[2J\r\n"), 0, webhook.ErrorNetwork, "malformed HTTP"},
		{"no number", says("HTTP/1.1 OK OK\r\n\r\n"), 0, webhook.ErrorNetwork, "malformed HTTP"},
		{"broken header", says("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), 0, webhook.ErrorNetwork, "malformed MIME header"},
		{"place that turns the text", says("HTTP/1.1 302 Found\r\nLocation: mailto:a\u202e\u200bb\r\nContent-Length: 0\r\n\r\n"), 302, webhook.ErrorRedirectRefused, `to "mailto:ab";`},
		{"two lengths", says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 0, webhook.ErrorNetwork, "Content-Length"},
		{"endless header", floods("HTTP/1.1 200 OK\r\nX-Long: ", strings.Repeat("x", 4096)), 0, webhook.ErrorNetwork, "headers exceeded 32768 bytes"},
		{"endless headers", floods("HTTP/1.1 200 OK\r\n", strings.Repeat("X-Many: x\r\n", 400)), 0, webhook.ErrorNetwork, "headers exceeded 32768 bytes"},
		{"endless early hints", floods("", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100)), 0, webhook.ErrorNetwork, "headers exceeded 32768 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := bare(t, c.answer)
			result := newClient(t, webhook.Config{}).Send(t.Context(), message(url+"/?secret=1"))
			reason := result.Reason()
			if result.StatusCode != c.status || result.Error != c.class || !strings.Contains(reason, c.reason) || strings.ContainsAny(reason, "\n\r\x1b") || strings.Contains(reason, "secret") {
				t.Errorf("%d %s", result.StatusCode, reason)
			}
			if len(result.Body) > webhook.MaxResponse || result.RemoteAddr != strings.TrimPrefix(url, "http://") {
				t.Errorf("%d bytes from %s", len(result.Body), result.RemoteAddr)
			}
		})
	}
}

func TestASlowReceiverEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(net.Conn){
		"silent":                   func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"drips headers":            drips("HTTP/1.1 200 OK\r\nX-Drip: "),
		"drips an answer in hints": drips("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX-Drip: "),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := bare(t, answer)
			result := newClient(t, webhook.Config{Timeout: 200 * time.Millisecond}).Send(t.Context(), message(url))
			if result.Error != webhook.ErrorTimeout || !strings.Contains(result.Detail, "no answer within 200ms: the receiver accepted the connection") || result.Timings.Total < 200*time.Millisecond {
				t.Errorf("%+v", result)
			}
		})
	}
}

// A body does not hold up the sender: neither beyond bodyTimeout nor the deadline.
func TestADrippingBodyIsCutAndStillDelivered(t *testing.T) {
	t.Parallel()
	const long = time.Minute
	for name, c := range map[string]struct{ timeout, patience time.Duration }{
		"patience ends": {long, 50 * time.Millisecond},
		"deadline ends": {500 * time.Millisecond, long},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := bare(t, drips(anAnswer))
			client := newClient(t, webhook.Config{Timeout: c.timeout})
			client.SetBodyTimeout(c.patience)
			result := client.Send(t.Context(), message(url))
			if !result.Delivered() || !strings.HasPrefix(result.Body, "x") || len(result.Body) == webhook.MaxResponse {
				t.Errorf("%+v", result)
			}
		})
	}
}

// The excerpt is of the bytes that were sent: a bomb stays small.
func TestAGzipBombIsNotDecompressed(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	packer := gzip.NewWriter(&bomb)
	_, _ = packer.Write(make([]byte, 20<<20))
	_ = packer.Close()
	url := bare(t, says("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"+bomb.String()))
	result := newClient(t, webhook.Config{}).Send(t.Context(), message(url))
	if !result.Delivered() || !strings.HasPrefix(result.Body, "\x1f\uFFFD\b") {
		t.Errorf("%q", result.Body)
	}
}

func TestTheExcerptIsCut(t *testing.T) {
	t.Parallel()
	url := bare(t, says("HTTP/1.1 500 Oops\r\nContent-Encoding: gzip\r\n\r\n"+strings.Repeat("z", 2*webhook.MaxResponse)))
	if result := newClient(t, webhook.Config{}).Send(t.Context(), message(url)); result.Body != strings.Repeat("z", 4096) {
		t.Errorf("%d bytes: %+v", len(result.Body), result)
	}
}

func TestARedirectLoopEndsAtOnce(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	})
	result := newClient(t, webhook.Config{}).Send(t.Context(), message(url+"/loop"))
	if result.Error != webhook.ErrorRedirectRefused || asked.Load() != 1 {
		t.Errorf("asked %d times: %+v", asked.Load(), result)
	}
}

// An early answer arrives, even if much of the body was still to be read.
func TestARefusalBeforeALongBodyIsRead(t *testing.T) {
	t.Parallel()
	url := bare(t, refusesEarly)
	m := message(url)
	m.Body = bytes.Repeat([]byte("x"), 20<<10)
	if result := newClient(t, webhook.Config{}).Send(t.Context(), m); result.StatusCode != 413 {
		t.Errorf("%+v", result)
	}
}

func TestACanceledAttempt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	url := bare(t, func(conn net.Conn) {
		readRequest(conn)
		cancel()
		_, _ = io.Copy(io.Discard, conn)
	})
	if result := newClient(t, webhook.Config{}).Send(ctx, message(url)); result.Error != webhook.ErrorNetwork || !strings.Contains(result.Reason(), "canceled") {
		t.Errorf("%+v", result)
	}
}
