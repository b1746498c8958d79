package klingapi

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// expiryOf returns when a signed URL says that it expires; the zero time where it
// does not. Times before 2001 and after 2286 are no times.
//
//	Expires, expires, Expire, exp, e, ksTime-like: unix seconds or milliseconds (CloudFront, OSS, COS, Kuaishou)
//	X-Amz-Date with X-Amz-Expires, and X-Goog-, x-tos-, x-oss-, x-obs-, x-cos-: a moment and seconds from it
//	se: RFC 3339 (Azure SAS)
//	q-sign-time, q-key-time: begin;end in unix seconds (COS)
func expiryOf(raw string) time.Time {
	u, err := url.Parse(raw)
	if err != nil || u.RawQuery == "" {
		return time.Time{}
	}
	query := map[string]string{}
	values, _ := url.ParseQuery(strings.ReplaceAll(u.RawQuery, ";", "%3B")) // COS writes it plainly
	for key, values := range values {
		query[strings.ToLower(key)] = values[0]
	}
	var first time.Time
	take := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	for _, key := range []string{"expires", "expire", "expires_at", "expiry", "exp", "e", "x-expires", "expiration", "kstime", "ks_time", "auth_expires", "deadline"} {
		take(moment(query[key]))
	}
	for _, key := range []string{"q-sign-time", "q-key-time"} {
		_, end, _ := strings.Cut(query[key], ";")
		take(moment(end))
	}
	for key, value := range query {
		// kuaishou signs with pkey and clientCacheKey; other parameters are named after what they are
		if strings.HasSuffix(key, "expiretime") || strings.HasSuffix(key, "expire_time") || strings.HasSuffix(key, "expires_time") {
			take(moment(value))
		}
		prefix, found := strings.CutSuffix(key, "-expires")
		if !found {
			continue
		}
		seconds, err := strconv.ParseInt(value, 10, 64)
		signed, dateErr := time.Parse("20060102T150405Z", strings.ToUpper(query[prefix+"-date"]))
		if err == nil && dateErr == nil && seconds >= 0 {
			take(signed.Add(time.Duration(min(seconds, maxLifetime)) * time.Second))
		}
	}
	if t, err := time.Parse(time.RFC3339, query["se"]); err == nil {
		take(t.UTC())
	}
	return first
}

// maxLifetime bounds what a URL may promise, in seconds: a century.
const maxLifetime = 100 * 365 * 24 * 3600

// moment reads unix seconds or milliseconds, or RFC 3339.
func moment(text string) time.Time { return object{"t": text}.time("t") }
