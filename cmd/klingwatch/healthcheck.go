package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

type healthcheckCommand struct {
	URL string `help:"Base URL of the service; default: from KLINGWATCH_LISTEN_ADDR." placeholder:"URL"`
}

// healthcheckTimeout is below the 5 s that container engines usually grant.
const healthcheckTimeout = 4 * time.Second

func (h healthcheckCommand) Run(ctx context.Context, c *console) error {
	base := h.URL
	if base == "" {
		s, err := loadSettings()
		if err != nil {
			return err
		}
		if base, err = localURL(s.ListenAddr); err != nil {
			return err
		}
	}
	asking, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(asking, http.MethodGet, strings.TrimRight(base, "/")+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("%q is not a URL like http://127.0.0.1:8080", base)
	}
	res, err := http.DefaultClient.Do(req)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("no answer from %s: is klingwatch serve running there?", base)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	fmt.Fprint(c.out, string(body))
	if res.StatusCode != http.StatusOK {
		return errors.New("not ready")
	}
	return nil
}

// localURL is where this machine reaches a listen address.
func localURL(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("KLINGWATCH_LISTEN_ADDR: %q is not host:port", addr)
	}
	if port == "0" {
		return "", errors.New("KLINGWATCH_LISTEN_ADDR picks a free port: give --url")
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
