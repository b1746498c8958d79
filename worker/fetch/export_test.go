package fetch

import (
	"crypto/x509"
	"io"
	"time"
)

// Trust makes a client believe in a certificate of a test.
func Trust(c *Client, certificate *x509.Certificate) {
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	c.transport.TLSClientConfig.RootCAs = pool
}

// ReadMovie is what the index of an MP4 file tells.
func ReadMovie(file io.ReaderAt, size int64) (width, height int, duration time.Duration, ok bool) {
	p, ok := readMovie(file, size)
	return p.width, p.height, p.duration, ok
}
