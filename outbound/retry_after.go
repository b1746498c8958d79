package outbound

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter reads the header Retry-After (RFC 9110, 10.2.3), which holds seconds
// or a date, as a wait from 0 to limit. It tolerates fractions, exponents and a
// sign in the seconds. Infinity and numbers beyond a float64 give the limit; a
// date in the past, negative numbers, NaN, lists and anything else give 0, as
// does a header without the field. Of several fields the first counts.
func RetryAfter(header http.Header, now time.Time, limit time.Duration) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	seconds, err := strconv.ParseFloat(value, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) { // out of range: seconds is infinite
		switch {
		case seconds >= limit.Seconds():
			return limit
		case seconds > 0: // NaN is not
			return time.Duration(seconds * float64(time.Second))
		}
		return 0
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), limit)
}
