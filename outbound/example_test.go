package outbound_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// A client that reaches public addresses only; the server here is not public.
func ExampleGuard() {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	dialer := &net.Dialer{Control: outbound.Guard(nil)}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
	_, err := client.Get(server.URL)
	fmt.Println(errors.Is(err, outbound.ErrBlocked))
	// Output: true
}

func ExampleReadBody() {
	content, more, err := outbound.ReadBody(strings.NewReader("a long answer"), 6)
	fmt.Printf("%q %v %v\n", content, more, err)
	// Output: "a long" true <nil>
}

func ExampleRetryAfter() {
	header := http.Header{"Retry-After": {"86400"}}
	fmt.Println(outbound.RetryAfter(header, time.Now(), time.Hour))
	// Output: 1h0m0s
}

// The message of a server, for a log: its escape sequence and its change of direction
// are harmless, and its URL has lost the signature.
func ExampleLine() {
	reason := "\x1b[31mno\u202e access:\n  https://cdn.example/a.mp4?signature=secret"
	fmt.Println(outbound.Truncate(outbound.Line(outbound.Redact(reason)), 100))
	// Output: [31mno access: https://cdn.example/a.mp4?...
}

func ExampleOrigin() {
	for _, url := range []string{"https://API.example.:443/hook?token=1", "https://Bücher.example/", "http://[2001:DB8:0::1]:8080/"} {
		origin, err := outbound.Origin(url)
		fmt.Println(origin, err)
	}
	// Output:
	// https://api.example <nil>
	// https://xn--bcher-kva.example <nil>
	// http://[2001:db8::1]:8080 <nil>
}
