package klingapi

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var kindOfExtension = map[string]Kind{
	".png": Image, ".jpg": Image, ".jpeg": Image, ".webp": Image, ".gif": Image, ".avif": Image, ".bmp": Image, ".heic": Image, ".tiff": Image,
	".mp4": Video, ".m4v": Video, ".mov": Video, ".webm": Video, ".mkv": Video, ".avi": Video,
	".mp3": Audio, ".wav": Audio, ".m4a": Audio, ".ogg": Audio, ".flac": Audio, ".aac": Audio, ".opus": Audio,
}

// noMedia are the extensions of what stands beside a file.
var noMedia = map[string]bool{".srt": true, ".vtt": true, ".ass": true, ".json": true, ".txt": true, ".html": true, ".htm": true}

// link is an absolute http(s) URL, or a file as a data: URL.
type link struct {
	raw       string
	url       *url.URL // nil for a data: URL
	extension string   // of the path, in small letters; "" for none
}

// parseLink reads a text that is a link and nothing else.
func parseLink(text string) (link, bool) {
	if isInline(text) {
		return link{raw: text}, true
	}
	if len(text) < len("http://x") || text[0]|0x20 != 'h' { // most texts are none
		return link{}, false
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return link{}, false
	}
	return link{raw: text, url: u, extension: strings.ToLower(path.Ext(u.Path))}, true
}

// isLink reports whether a text is a link.
func isLink(text string) bool {
	_, ok := parseLink(text)
	return ok
}

// isURL reports whether a text is an absolute http(s) URL.
func isURL(text string) bool { return isLink(text) && !isInline(text) }

// kind is what the extension or the media type says, "" for nothing.
func (l link) kind() Kind {
	if l.url == nil {
		mediaType, _, _ := strings.Cut(l.raw, ";")
		return kindNamed(mediaType)
	}
	return kindOfExtension[l.extension]
}

// isInline reports whether a text is a file as a data: URL.
func isInline(text string) bool {
	return strings.HasPrefix(text, "data:image/") || strings.HasPrefix(text, "data:video/") || strings.HasPrefix(text, "data:audio/")
}

// isBase64Field reports whether a field holds a file itself: OpenAI's b64_json.
func isBase64Field(key string) bool {
	return strings.Contains(key, "b64") || strings.Contains(key, "base64")
}

// inlined writes a file in base64 as a data: URL; the media type is in its first bytes,
// or follows from the kind.
func inlined(text string, kind Kind) string {
	mediaType := map[Kind]string{Image: "image/png", Video: "video/mp4", Audio: "audio/mpeg"}[kind]
	for prefix, known := range map[string]string{"iVBORw0KGgo": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "SUQz": "audio/mpeg"} {
		if strings.HasPrefix(text, prefix) {
			mediaType = known
		}
	}
	return "data:" + mediaType + ";base64," + text
}

// isFileURL reports whether a text is a URL and nothing else.
func isFileURL(text string) bool { return isURL(text) && !strings.ContainsAny(text, " \t") }

// signing matches the parameters that differ between two signatures of one file.
var signing = regexp.MustCompile(`(?i)^(x-.*|.*sign.*|.*token.*|.*expire.*|.*key.*|policy|sig|s[eprvk]|exp|download|response-.*|attname)$`)

// identity is what two addresses of one file have in common.
func (l link) identity() string {
	if l.url == nil || l.kind() == "" {
		return l.raw
	}
	query := l.url.Query()
	for key := range query {
		if signing.MatchString(key) {
			query.Del(key)
		}
	}
	return l.url.Host + l.url.Path + "?" + query.Encode()
}

var proxyPath = regexp.MustCompile(`/v[0-9]+[a-z]*/(videos?|images?|audios?|tasks?|jobs?|files?|generations?|predictions?|video/generations)/([^/]+)/content/?$`)

// isProxied reports whether a link is a relay's own link to the file, which needs the
// relay's key: new-api, relay/relay_task.go, /v1/videos/{task_id}/content.
func (l link) isProxied(ids []string, relay string) bool {
	if l.url == nil || !strings.Contains(l.url.Path, "/content") {
		return false
	}
	match := proxyPath.FindStringSubmatch(l.url.Path)
	return match != nil && (slices.Contains(ids, match[2]) || strings.EqualFold(l.url.Host, relay) || !isPublic(l.url.Hostname()))
}

var versionPath = regexp.MustCompile(`/v[0-9]+[a-z]*/`)

// isOfTask reports whether a link is the relay's address of the task itself.
func (l link) isOfTask(ids []string, relay string) bool {
	return l.url != nil && strings.EqualFold(l.url.Host, relay) && versionPath.MatchString(l.url.Path) && slices.Contains(ids, path.Base(l.url.Path))
}

// isPublic reports whether a host can be one of the open internet.
func isPublic(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsGlobalUnicast() && !addr.IsPrivate()
	}
	return strings.Contains(strings.TrimSuffix(host, "."), ".") && !strings.HasSuffix(host, ".local") && !strings.HasSuffix(host, ".internal")
}

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
	if prefix, relative := strings.CutSuffix(key, "-expires"); relative { // X-Amz-Date with X-Amz-Expires; X-Goog-, x-tos-, x-oss-, x-obs-, x-cos-
		if signed, err := time.Parse(compactTime, strings.ToUpper(query[prefix+"-date"])); err == nil {
			return []time.Time{secondsAfter(signed, value)}
		}
	}
	switch {
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
	if text == "" {
		return ""
	}
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
