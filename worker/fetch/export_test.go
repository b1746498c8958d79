package fetch

import "crypto/x509"

// Trust makes a client believe in a certificate of a test.
func Trust(c *Client, certificate *x509.Certificate) {
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	c.transport.TLSClientConfig.RootCAs = pool
}
