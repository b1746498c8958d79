package fetch

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/klingwatch/klingwatch/outbound"
)

// maxRedirects of one request.
const maxRedirects = 5

// ask sends a request and follows its redirects. An http.Client would take some
// headers along to other hosts, and tell them the URL with its signature as the Referer.
// host is the origin that was asked last, for errors.
func (c *Client) ask(ctx context.Context, s Source, extra http.Header) (res *http.Response, host string, err error) {
	target, secret := s.URL, s.Header
	for range maxRedirects + 1 {
		if host, err = originOf(target); err != nil {
			return nil, host, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return nil, host, fail(Forbidden, host, "the URL cannot be used")
		}
		c.setHeaders(req, secret, extra)
		if res, err = c.transport.RoundTrip(req); err != nil {
			return nil, host, exchangeError(ctx, err, host)
		}
		next, err := redirect(res, host)
		if next == nil || err != nil {
			return res, host, err
		}
		res.Body.Close()
		target = next.String()
		switch origin, err := originOf(target); {
		case err != nil:
			return nil, host, fail(Forbidden, host, "a redirect to a URL that is not http or https")
		case req.URL.Scheme == "https" && next.Scheme == "http":
			// a file could be replaced on its way, and the URL's signature be read
			return nil, host, fail(Forbidden, host, "a redirect from https to http, to %s", origin)
		case origin != host:
			secret = nil // for good: who comes back was told by another where to go
		}
	}
	return nil, host, fail(Forbidden, host, "more than %d redirects", maxRedirects)
}

func (c *Client) setHeaders(req *http.Request, secret, extra http.Header) {
	if user := req.URL.User; user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	header := req.Header
	header.Set("User-Agent", c.cfg.UserAgent)
	header.Set("Accept", "*/*")
	for _, more := range []http.Header{secret, extra} {
		for name, values := range more {
			header[http.CanonicalHeaderKey(name)] = values
		}
	}
	header.Set("Accept-Encoding", "identity")
}

// originOf names the server of a URL, for errors and to tell whether a redirect leaves it.
func originOf(rawURL string) (string, error) {
	origin, err := outbound.Origin(rawURL)
	if err != nil {
		return "", &Error{Reason: Forbidden, Text: err.Error()}
	}
	return origin, nil
}

// redirect returns where an answer leads to; nil: it is no redirect.
func redirect(res *http.Response, host string) (*url.URL, error) {
	switch res.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	next, err := res.Location()
	if errors.Is(err, http.ErrNoLocation) {
		return nil, nil
	}
	if err != nil {
		res.Body.Close()
		return nil, fail(Trouble, host, "a redirect to what is not a URL")
	}
	return next, nil
}
