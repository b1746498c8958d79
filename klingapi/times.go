package klingapi

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// expiry returns the earliest moment at which a signed URL says that it expires; the
// zero time where it does not. Times before 2001 and after 2286 are no times.
func (l link) expiry() time.Time {
	if l.url == nil || l.url.RawQuery == "" {
		return time.Time{}
	}
	query := map[string]string{}
	values, _ := url.ParseQuery(strings.ReplaceAll(l.url.RawQuery, ";", "%3B")) // COS writes it plainly
	for key, values := range values {
		query[strings.ToLower(key)] = values[0]
	}
	var first time.Time
	for key, value := range query {
		for _, t := range momentsIn(key, value, query) {
			if !t.IsZero() && (first.IsZero() || t.Before(first)) {
				first = t
			}
		}
	}
	return first
}

// expiryFields hold a moment: CloudFront, Google, OSS, OBS, Qiniu, Kuaishou, Azure (se)
// and other CDNs.
var expiryFields = []string{
	"expires", "expire", "expires_at", "expiry", "exp", "e", "x-expires", "expiration", "kstime", "ks_time", "auth_expires", "deadline", "validuntil", "valid_until", "se",
}

// momentsIn lists when one parameter says that the URL expires.
func momentsIn(key, value string, query map[string]string) []time.Time {
	prefix, relative := strings.CutSuffix(key, "-expires")
	signed, dateErr := time.Parse(compactTime, strings.ToUpper(query[prefix+"-date"]))
	switch {
	case relative && dateErr == nil: // X-Amz-Date with X-Amz-Expires; X-Goog-, x-tos-, x-oss-, x-obs-, x-cos-
		return []time.Time{secondsAfter(signed, value)}
	case slices.Contains(expiryFields, key), strings.HasSuffix(key, "expiretime"), strings.HasSuffix(key, "expire_time"), strings.HasSuffix(key, "expires_time"):
		return []time.Time{moment(value)}
	case key == "q-sign-time", key == "q-key-time": // begin;end (COS)
		_, end, _ := strings.Cut(value, ";")
		return []time.Time{moment(end)}
	}
	return momentsInside(value)
}

// compactTime is the form of the dates in signatures.
const compactTime = "20060102T150405Z"

var (
	akamaiForm = regexp.MustCompile(`(?:^|~)exp=([0-9]+)`)
	policyForm = regexp.MustCompile(`"DateLessThan":\s*\{\s*"AWS:EpochTime":\s*([0-9]+)`)
	baiduForm  = regexp.MustCompile(`^bce-auth-v1/[^/]+/([^/]+)/([0-9]+)/`)
)

// momentsInside looks into tokens: exp=...~acl=... (Akamai), a JSON Web Token (Runway,
// Supabase), a policy (CloudFront), bce-auth-v1/... (Baidu).
func momentsInside(value string) []time.Time {
	if match := akamaiForm.FindStringSubmatch(value); match != nil {
		return []time.Time{moment(match[1])}
	}
	if match := baiduForm.FindStringSubmatch(value); match != nil {
		return []time.Time{secondsAfter(moment(match[1]), match[2])}
	}
	if parts := strings.Split(value, "."); len(parts) == 3 {
		var claims struct {
			Exp json.Number `json:"exp"`
		}
		if text, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil && json.Unmarshal(text, &claims) == nil {
			return []time.Time{moment(claims.Exp.String())}
		}
	}
	text, _ := base64.StdEncoding.DecodeString(cloudFrontAlphabet.Replace(value))
	if match := policyForm.FindSubmatch(text); match != nil {
		return []time.Time{moment(string(match[1]))}
	}
	return nil
}

// cloudFrontAlphabet undoes what CloudFront replaces in base64.
var cloudFrontAlphabet = strings.NewReplacer("-", "+", "_", "=", "~", "/", " ", "+")

// maxLifetime bounds what a URL may promise, in seconds: a century.
const maxLifetime = 100 * 365 * 24 * 3600

// secondsAfter is a moment some seconds after another; the zero time for nonsense.
func secondsAfter(t time.Time, seconds string) time.Time {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < 0 || t.IsZero() {
		return time.Time{}
	}
	return t.Add(time.Duration(min(n, maxLifetime)) * time.Second)
}

// moment reads unix seconds or milliseconds, RFC 3339, or what Azure makes of it.
func moment(text string) time.Time {
	for _, form := range []string{"2006-01-02T15:04Z", "2006-01-02"} {
		if t, err := time.Parse(form, text); err == nil {
			return t
		}
	}
	return object{"t": text}.time("t")
}

// durationOf returns the seconds that an object says of the file in one of its
// fields; "" where it says nothing.
func durationOf(o object, field string) string {
	keys := []string{"duration", "duration_seconds", "duration_s", "seconds", "video_duration", "audio_duration"}
	for _, format := range []string{"mp3", "wav"} {
		if strings.Contains(field, format) {
			keys = append([]string{"duration_" + format, format + "_duration"}, keys[:2]...)
		}
	}
	for _, key := range keys {
		if text := seconds(o.text(key)); text != "" {
			return text
		}
	}
	for _, key := range []string{"duration_ms", "duration_millis", "duration_in_ms"} {
		if text := o.text(key); text != "" {
			return seconds(text + "ms")
		}
	}
	if metadata, ok := o["metadata"].(object); ok { // OpenAI's form of a video, at new-api
		return durationOf(metadata, field)
	}
	return ""
}

var (
	durationForm = regexp.MustCompile(`^([0-9]{1,9}(?:\.[0-9]{1,30})?)\s*(ms|s|sec|secs|seconds?)?$`)
	clockForm    = regexp.MustCompile(`^(?:([0-9]{1,2}):)?([0-9]{1,2}):([0-9]{1,2}(?:\.[0-9]{1,9})?)$`)
)

// milliseconds from a thousand on: Kling's longest files take some minutes.
const millisecondsFrom = 1000

// seconds reads 5, "5.041", "5s", "5041ms", 5041 and "00:05".
func seconds(text string) string {
	text = strings.ToLower(text)
	if match := clockForm.FindStringSubmatch(text); match != nil {
		hours, _ := strconv.Atoi("0" + match[1])
		minutes, _ := strconv.Atoi(match[2])
		rest, _ := strconv.ParseFloat(match[3], 64)
		return decimalText(float64(hours*3600+minutes*60) + rest)
	}
	match := durationForm.FindStringSubmatch(text)
	if match == nil {
		return ""
	}
	if n, _ := strconv.ParseFloat(match[1], 64); match[2] == "ms" || match[2] == "" && n >= millisecondsFrom {
		return decimalText(n / 1000)
	}
	return match[1]
}

func decimalText(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
