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

// extension of the path of a URL, in small letters.
func extension(raw string) string {
	if u, err := url.Parse(raw); err == nil && !isInline(raw) {
		return strings.ToLower(path.Ext(u.Path))
	}
	return ""
}

// kindOfURL returns the kind of a URL by its extension or media type, "" for none.
func kindOfURL(raw string) Kind {
	if isInline(raw) {
		mediaType, _, _ := strings.Cut(raw, ";")
		return kindNamed(mediaType)
	}
	return kindOfExtension[extension(raw)]
}

// isURL reports whether a text is an absolute http(s) URL.
func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
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
func identity(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || isInline(raw) || kindOfURL(raw) == "" {
		return raw
	}
	query := u.Query()
	for key := range query {
		if signing.MatchString(key) {
			query.Del(key)
		}
	}
	return u.Host + u.Path + "?" + query.Encode()
}

var proxyPath = regexp.MustCompile(`/v[0-9]+[a-z]*/(videos?|images?|audios?|tasks?|jobs?|files?|generations?|predictions?|video/generations)/([^/]+)/content/?$`)

// isProxied reports whether a URL is a relay's own link to the file, which needs the
// relay's key: new-api, relay/relay_task.go, /v1/videos/{task_id}/content.
func isProxied(raw string, ids []string, relay string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	match := proxyPath.FindStringSubmatch(u.Path)
	return match != nil && (slices.Contains(ids, match[2]) || strings.EqualFold(u.Host, relay) || !isPublic(u.Hostname()))
}

var versionPath = regexp.MustCompile(`/v[0-9]+[a-z]*/`)

// isTaskLink reports whether a URL is the relay's address of the task itself.
func isTaskLink(raw string, ids []string, relay string) bool {
	u, err := url.Parse(raw)
	return err == nil && strings.EqualFold(u.Host, relay) && versionPath.MatchString(u.Path) && slices.Contains(ids, path.Base(u.Path))
}

// isPublic reports whether a host can be one of the open internet.
func isPublic(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsGlobalUnicast() && !addr.IsPrivate()
	}
	return strings.Contains(strings.TrimSuffix(host, "."), ".") && !strings.HasSuffix(host, ".local") && !strings.HasSuffix(host, ".internal")
}
