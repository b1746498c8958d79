package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// maxDetail bounds a reason, in characters: part of it may come from a receiver.
const maxDetail = 300

// safe returns a short, safe line of a text that comes from a receiver in part.
func safe(text string) string { return outbound.Truncate(outbound.Line(text), maxDetail) }

// failure judges an exchange without an answer by the types of its errors and by
// the stage that it reached; late means that the timeout is over.
func failure(err error, reached stage, late bool, timeout time.Duration) Result {
	class, detail := classify(err, reached, late, timeout)
	return Result{Error: class, Detail: safe(detail)}
}

func classify(err error, reached stage, late bool, timeout time.Duration) (class, detail string) {
	var (
		dns      *net.DNSError
		timedOut net.Error
	)
	switch {
	case errors.Is(err, outbound.ErrBlocked):
		return ErrorBlockedAddress, "the host is a private or reserved address; see KLINGWATCH_WEBHOOK_ALLOW_NETWORKS"
	case errors.As(err, &dns):
		return ErrorDNS, dnsFault(dns)
	case late && reached == resolving:
		return ErrorDNS, dnsFault(&net.DNSError{IsTimeout: true})
	case late, errors.As(err, &timedOut) && timedOut.Timeout():
		return ErrorTimeout, fmt.Sprintf("no answer within %s%s", timeout, timeoutHints[reached])
	case errors.Is(err, context.Canceled):
		return ErrorNetwork, "the attempt was canceled"
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrorConnectionRefused, "nothing listens on that port"
	case reached == handshaking:
		return ErrorTLS, tlsFault(err)
	}
	return ErrorNetwork, networkFault(err)
}

// timeoutHints say what the time was spent on.
var timeoutHints = map[stage]string{
	connecting:  ": no connection was made; a firewall may drop the packets",
	handshaking: ": the receiver accepted the connection, but the TLS handshake did not end",
	waiting:     ": the receiver accepted the connection, but sent no complete answer",
}

func dnsFault(err *net.DNSError) string {
	switch {
	case err.IsNotFound:
		return "the host name does not exist; check the URL"
	case err.IsTimeout:
		return "the resolver does not answer; check the DNS of the machine that klingwatch runs on"
	}
	return "the resolver could not find the address of the host; this may be temporary"
}

func tlsFault(err error) string {
	var (
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		return validity(invalid.Cert)
	case errors.As(err, &unknown):
		return "the certificate is from an unknown authority; it is self-signed or its chain is incomplete"
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate is for %s, not for %s", names(name.Certificate), name.Host)
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return "the receiver does not speak TLS on this port; check the port and https://"
	case connectionClosed(err):
		return "the receiver closed the connection in the TLS handshake"
	}
	return "the TLS handshake failed: " + cause(err).Error()
}

// validity explains x509.Expired, which also means not yet valid.
func validity(cert *x509.Certificate) string {
	if time.Now().Before(cert.NotBefore) {
		return "the certificate is not valid before " + cert.NotBefore.UTC().Format(time.RFC3339)
	}
	return "the certificate expired at " + cert.NotAfter.UTC().Format(time.RFC3339)
}

// names lists the first names of a certificate.
func names(cert *x509.Certificate) string {
	const enough = 3
	all := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	switch {
	case len(all) == 0:
		return "no host"
	case len(all) > enough:
		return fmt.Sprintf("%s and %d more", strings.Join(all[:enough], ", "), len(all)-enough)
	}
	return strings.Join(all, ", ")
}

func networkFault(err error) string {
	switch {
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no route to the host"
	case connectionClosed(err):
		return "the receiver closed the connection before it answered"
	}
	return cause(err).Error()
}

// connectionClosed reports whether the other side ended the connection.
func connectionClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// cause removes the URL, which may contain secrets, and our own addresses.
func cause(err error) error {
	var (
		withURL       *url.Error
		withAddresses *net.OpError
	)
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	if errors.As(err, &withAddresses) {
		err = withAddresses.Err
	}
	return err
}
