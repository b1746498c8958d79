package outbound

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// defaultPorts are the ports of URLs without one.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// Origin returns the server of an http(s) URL as scheme://host, with :port unless it
// is the default. All spellings of a server give the same text: upper case, a dot at
// the end, the default port, Unicode or punycode, the forms of an IPv6 address. It
// leaves out path, query and user, which may contain secrets; its error does not
// repeat the URL.
func Origin(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", errors.New("reading a URL: it is malformed")
	}
	defaultPort, ok := defaultPorts[u.Scheme]
	if !ok {
		return "", errors.New("reading a URL: it must begin with http:// or https://")
	}
	host, port := hostName(u.Hostname()), u.Port()
	if host == "" {
		return "", errors.New("reading a URL: it has no host")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		port = strconv.FormatUint(n, 10) // 0443 is dialed as 443
	}
	switch {
	case port != "" && port != defaultPort:
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return (&url.URL{Scheme: u.Scheme, Host: host}).String(), nil
}

// hostName returns the one spelling of a host name or address. A name that is not a
// valid IDN stays as it is, as in net/http.
func hostName(host string) string {
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		host = ascii
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return host
}
