package webhook_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/webhook"
)

// certificate is signed by itself, for 127.0.0.1 and these names.
func certificate(t *testing.T, notBefore, notAfter time.Time, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: notBefore, NotAfter: notAfter,
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsReceiver answers 204 by TLS set up so; it returns its port.
func tlsReceiver(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	server := httptest.NewUnstartedServer(status(204))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = cfg
	server.StartTLS()
	t.Cleanup(server.Close)
	return port(server.URL)
}

func TestTLSFaultsAreExplained(t *testing.T) {
	t.Parallel()
	now, day := time.Now(), 24*time.Hour
	with := func(cert tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{cert}} }
	for name, c := range map[string]struct {
		host   string
		tls    *tls.Config
		reason string
	}{
		"expired":            {"127.0.0.1", with(certificate(t, now.Add(-2*day), now.Add(-day))), "the certificate expired at 2"},
		"not yet valid":      {"127.0.0.1", with(certificate(t, now.Add(day), now.Add(2*day))), "not valid before 2"},
		"unknown authority":  {"127.0.0.1", with(certificate(t, now, now.Add(day))), "unknown authority"},
		"another host's":     {"receiver.example", with(certificate(t, now, now.Add(day), "a.example", "b.example", "c.example")), "for a.example, b.example, c.example and 1 more, not for receiver.example"},
		"only TLS 1.1":       {"127.0.0.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "protocol version"},
		"no common protocol": {"127.0.0.1", &tls.Config{NextProtos: []string{"imap"}}, "the TLS handshake failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := tlsReceiver(t, c.tls)
			client := newClient(t, webhook.Config{Resolver: resolver(always("127.0.0.1"))})
			result := client.Send(t.Context(), message("https://"+c.host+":"+port+"/?secret=1"))
			if result.Error != webhook.ErrorTLS || !strings.Contains(result.Reason(), c.reason) || strings.Contains(result.Reason(), "secret") {
				t.Errorf("%+v", result)
			}
			if result.RemoteAddr != "127.0.0.1:"+port || result.Timings.TLS <= 0 {
				t.Errorf("the handshake with %s took %s", result.RemoteAddr, result.Timings.TLS)
			}
		})
	}
}

func TestTLSOnAPlainPortAndTheReverse(t *testing.T) {
	t.Parallel()
	client := newClient(t, webhook.Config{})
	plain := port(receiver(t, status(204)))
	if result := client.Send(t.Context(), message("https://127.0.0.1:"+plain)); result.Error != webhook.ErrorTLS || !strings.Contains(result.Reason(), "does not speak TLS") {
		t.Errorf("TLS on a plain port: %+v", result)
	}
	mail := port(bare(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n"); readRequest(conn) }))
	if result := client.Send(t.Context(), message("https://127.0.0.1:"+mail)); result.Error != webhook.ErrorTLS || !strings.Contains(result.Reason(), "does not speak TLS") {
		t.Errorf("TLS on a port for mail: %+v", result)
	}
	secure := tlsReceiver(t, nil) // Go's server answers in plain HTTP that it is none
	if result := client.Send(t.Context(), message("http://127.0.0.1:"+secure)); result.StatusCode != 400 || result.Error != webhook.ErrorHTTPStatus {
		t.Errorf("plain HTTP on a TLS port: %+v", result)
	}
	strict := bare(t, says("\x15\x03\x01\x00\x02\x02\x46")) // others send a TLS alert
	if result := client.Send(t.Context(), message(strict)); result.Error != webhook.ErrorNetwork || !strings.Contains(result.Reason(), "malformed HTTP") {
		t.Errorf("plain HTTP on a strict TLS port: %+v", result)
	}
}

func TestAReceiverThatHangsUpInTheTLSHandshake(t *testing.T) {
	t.Parallel()
	url := bare(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 4096)) })
	result := newClient(t, webhook.Config{}).Send(t.Context(), message(strings.Replace(url, "http:", "https:", 1)))
	if result.Error != webhook.ErrorTLS || !strings.Contains(result.Reason(), "closed the connection in the TLS handshake") {
		t.Errorf("%+v", result)
	}
}

// net/http lets a handshake outlive its request; the connection must end all the same.
func TestASilentTLSReceiverEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	hungUp := make(chan struct{})
	url := bare(t, func(conn net.Conn) {
		_, _ = io.Copy(io.Discard, conn)
		close(hungUp)
	})
	client := newClient(t, webhook.Config{Timeout: 200 * time.Millisecond})
	result := client.Send(t.Context(), message(strings.Replace(url, "http:", "https:", 1)))
	if result.Error != webhook.ErrorTimeout || !strings.Contains(result.Reason(), "TLS handshake did not end") {
		t.Errorf("%+v", result)
	}
	<-hungUp
}
