package outbound

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter returns the wait that the field Retry-After (RFC 9110, 10.2.3) asks
// for, in seconds or by a date, from 0 to limit. Seconds may have a sign, a fraction
// and an exponent. Infinity and numbers beyond a float64 give the limit; a date in
// the past, a negative number, NaN, a list and anything else give 0, as does a header
// without the field. Of several fields the first counts.
func RetryAfter(header http.Header, now time.Time, limit time.Duration) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if value == "" {
		return 0 // as nearly all answers have it
	}
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
