package klingapi

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
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
