package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// curlLine is the request that sim prints: the header and the URL.
var curlLine = regexp.MustCompile(`try: curl -H 'Authorization: ([^']+)' '([^']+)'\n`)

// The relay names its dialect, and the request that it suggests works as printed.
func TestSimPrintsARequestThatWorks(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{"kling", "new-api", "v3", "flat"} {
		p := launch(t, nil, "sim", "--listen", "127.0.0.1:0", "--key", "sk-sim", "--fault-rate", "0", "--dialect", dialect)
		await(t, "sim prints a request", func() bool { return curlLine.MatchString(p.stdout()) })
		if !strings.Contains(p.stdout(), ", dialect "+dialect+", seed ") {
			t.Errorf("%s: %s", dialect, p.stdout())
		}
		match := curlLine.FindStringSubmatch(p.stdout())
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, match[2], nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", match[1])
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: HTTP %d, %s", dialect, res.StatusCode, res.Header)
		}
		if code, stderr := p.interrupt(t); code != exitOK {
			t.Errorf("%s: exit code %d: %s", dialect, code, stderr)
		}
	}
}
