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

// defaultPorts are what http and https mean without a port.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// Origin names the server behind an http(s) URL: scheme://host, with :port unless
// it is the default. All spellings of a server give the same name: upper case, a
// dot at the end, the default port, Unicode or punycode, the forms of an IPv6
// address. Path, query and user, which may hold secrets, are left out, and so is
// the URL in the error.
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

// hostName returns the one spelling of a host's name or address. A name that is
// no valid IDN is looked up as it is, as net/http does.
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
