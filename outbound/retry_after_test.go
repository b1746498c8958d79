package outbound_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

func TestRetryAfterIsReadAndBounded(t *testing.T) {
	t.Parallel()
	const limit = time.Hour
	now := time.Date(2026, 11, 25, 20, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, " ": 0, "soon": 0, "NaN": 0, "1 2": 0, "120, 60": 0, "5s": 0, "٣": 0, "120;q=1": 0, "1,5": 0,
		"0": 0, "-0": 0, "-3": 0, "-1e99": 0, "-1e400": 0, "-Inf": 0, "1e-400": 0,
		"7": 7 * time.Second, "+7": 7 * time.Second, "007": 7 * time.Second, " \t7 ": 7 * time.Second, "0.5": time.Second / 2, "1e2": 100 * time.Second,
		"3600": limit, "3601": limit, "1e99": limit, "1e400": limit, "99999999999999999999": limit, strings.Repeat("9", 4000): limit, "Inf": limit, "+Infinity": limit,
		"Wed, 25 Nov 2026 20:02:00 GMT": 2 * time.Minute, " Wed, 25 Nov 2026 20:02:00 GMT ": 2 * time.Minute,
		"Wednesday, 25-Nov-26 20:02:00 GMT": 2 * time.Minute, "Wed Nov 25 20:02:00 2026": 2 * time.Minute, // the obsolete forms
		"Wed, 25 Nov 2026 20:00:00 GMT": 0, "Mon, 01 Jan 2001 00:00:00 GMT": 0, "Mon, 01 Jan 0001 00:00:00 GMT": 0,
		"Wed, 25 Nov 2026 21:00:01 GMT": limit, "Fri, 31 Dec 9999 23:59:59 GMT": limit,
		"2026-11-25T20:02:00Z": 0, "Wed, 31 Nov 2026 20:02:00 GMT": 0,
	} {
		if got := outbound.RetryAfter(http.Header{"Retry-After": {value}}, now, limit); got != want {
			t.Errorf("%.40q: %s, want %s", value, got, want)
		}
	}
	if got := outbound.RetryAfter(http.Header{}, now, limit); got != 0 {
		t.Errorf("without the header: %s", got)
	}
	if got := outbound.RetryAfter(http.Header{"Retry-After": {"7", "9"}}, now, limit); got != 7*time.Second {
		t.Errorf("of two fields the first counts: %s", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"120", "1e400", "-1", "NaN", "0x1p70", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(value, int64(time.Hour))
	}
	f.Fuzz(func(t *testing.T, value string, limit int64) {
		limit = max(limit, 0)
		got := outbound.RetryAfter(http.Header{"Retry-After": {value}}, time.Now(), time.Duration(limit))
		if got < 0 || got > time.Duration(limit) {
			t.Errorf("%q is %s, beyond %s", value, got, time.Duration(limit))
		}
	})
}
