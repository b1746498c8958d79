package fetch

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
)

// sniffed bytes are enough to tell what a file is.
const sniffed = 512

// format is what a file is, by its first bytes.
type format struct{ kind, contentType, ext string }

// The kinds of outputs.
const (
	image = "image"
	video = "video"
	audio = "audio"
)

// signature recognises a format by bytes at a place.
type signature struct {
	at     int
	bytes  string
	format format
}

// signatures in the order in which they are tried.
var signatures = []signature{
	{0, "\xff\xd8\xff", format{image, "image/jpeg", "jpg"}},
	{0, "\x89PNG\r\n\x1a\n", format{image, "image/png", "png"}},
	{0, "GIF87a", format{image, "image/gif", "gif"}},
	{0, "GIF89a", format{image, "image/gif", "gif"}},
	{8, "WEBPVP8", format{image, "image/webp", "webp"}},
	{4, "ftypavif", format{image, "image/avif", "avif"}},
	{4, "ftypavis", format{image, "image/avif", "avif"}},
	{4, "ftypheic", format{image, "image/heic", "heic"}},
	{4, "ftypheix", format{image, "image/heic", "heic"}},
	{4, "ftypmif1", format{image, "image/heif", "heif"}},
	{0, "\x00\x00\x00\x0cJXL \r\n\x87\n", format{image, "image/jxl", "jxl"}},
	{0, "\xff\x0a", format{image, "image/jxl", "jxl"}},
	{0, "II*\x00", format{image, "image/tiff", "tiff"}},
	{0, "MM\x00*", format{image, "image/tiff", "tiff"}},
	{6, "\x00\x00\x00\x00", format{image, "image/bmp", "bmp"}}, // with BM before, see isBMP

	{4, "ftypM4A ", format{audio, "audio/mp4", "m4a"}},
	{4, "ftypM4B ", format{audio, "audio/mp4", "m4a"}},
	{4, "ftypqt  ", format{video, "video/quicktime", "mov"}},
	{4, "ftyp3g", format{video, "video/3gpp", "3gp"}},
	{4, "ftyp", format{video, "video/mp4", "mp4"}},
	{4, "moov", format{video, "video/quicktime", "mov"}},
	{4, "mdat", format{video, "video/quicktime", "mov"}},
	{4, "wide", format{video, "video/quicktime", "mov"}},
	{4, "free", format{video, "video/mp4", "mp4"}},
	{4, "skip", format{video, "video/mp4", "mp4"}},
	{0, "\x1aE\xdf\xa3", format{video, "video/x-matroska", "mkv"}}, // or WebM, see recognised
	{8, "AVI LIST", format{video, "video/x-msvideo", "avi"}},
	{0, "FLV\x01", format{video, "video/x-flv", "flv"}},
	{0, "\x00\x00\x01\xba", format{video, "video/mpeg", "mpg"}},
	{0, "\x00\x00\x01\xb3", format{video, "video/mpeg", "mpg"}},
	{0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11", format{video, "video/x-ms-asf", "wmv"}},

	{0, "ID3", format{audio, "audio/mpeg", "mp3"}},
	{8, "WAVE", format{audio, "audio/wav", "wav"}},
	{0, "fLaC", format{audio, "audio/flac", "flac"}},
	{0, "OggS", format{audio, "audio/ogg", "ogg"}},
	{8, "AIFF", format{audio, "audio/aiff", "aiff"}},
	{8, "AIFC", format{audio, "audio/aiff", "aiff"}},
	{0, "#!AMR", format{audio, "audio/amr", "amr"}},
}

// eitherKind are containers that may hold video or sound alone: the announced kind
// decides.
var eitherKind = map[string]map[string]format{
	"video/mp4":        {audio: {audio, "audio/mp4", "m4a"}},
	"video/webm":       {audio: {audio, "audio/webm", "webm"}},
	"video/x-matroska": {audio: {audio, "audio/x-matroska", "mka"}},
	"audio/mp4":        {video: {video, "video/mp4", "mp4"}},
	"audio/ogg":        {video: {video, "video/ogg", "ogv"}},
}

// sniff tells the format of a file by its first bytes. Its error says what they are
// instead of a file of the announced kind.
func sniff(head []byte, kind string) (format, error) {
	found, ok := recognised(head)
	if !ok {
		return format{}, fmt.Errorf("the host sent %s instead of %s", looksLike(head), article(kind))
	}
	if other, ok := eitherKind[found.contentType][kind]; ok {
		return other, nil
	}
	if kind != "" && found.kind != kind {
		return format{}, fmt.Errorf("the host sent %s (%s) instead of %s", article(found.kind), found.contentType, article(kind))
	}
	return found, nil
}

func recognised(head []byte) (format, bool) {
	for _, s := range signatures {
		if len(head) < s.at || !bytes.HasPrefix(head[s.at:], []byte(s.bytes)) {
			continue
		}
		switch {
		case s.format.ext == "bmp" && !bytes.HasPrefix(head, []byte("BM")):
			continue
		case s.format.ext == "mkv" && bytes.Contains(head[:min(len(head), 64)], []byte("webm")):
			return format{video, "video/webm", "webm"}, true
		}
		return s.format, true
	}
	switch {
	case isTransportStream(head):
		return format{video, "video/mp2t", "ts"}, true
	case len(head) > 4 && head[0] == 0xff && head[1]&0xf6 == 0xf0: // ADTS
		return format{audio, "audio/aac", "aac"}, true
	case isMPEGAudio(head):
		return format{audio, "audio/mpeg", "mp3"}, true
	}
	return format{}, false
}

// isTransportStream looks for the sync bytes of three packets.
func isTransportStream(head []byte) bool {
	const packet = 188
	return len(head) > 2*packet && head[0] == 'G' && head[packet] == 'G' && head[2*packet] == 'G'
}

// isMPEGAudio reads the header of a frame, as MP3 files without ID3 begin with one.
func isMPEGAudio(head []byte) bool {
	return len(head) > 4 && head[0] == 0xff && head[1]&0xe0 == 0xe0 && // sync
		head[1]&0x18 != 0x08 && head[1]&0x06 != 0 && // version and layer
		head[2]&0xf0 != 0xf0 && head[2]&0x0c != 0x0c // bit rate and sampling rate
}

// looksLike describes what is no file, for people.
func looksLike(head []byte) string {
	if text := bytes.TrimSpace(head); len(text) > 0 && (text[0] == '{' || text[0] == '[') {
		return "JSON"
	}
	switch name, _, _ := strings.Cut(http.DetectContentType(head), ";"); name {
	case "text/html":
		return "an HTML page"
	case "text/xml":
		return "XML"
	case "text/plain":
		return "a text"
	case "application/octet-stream":
		return "bytes of an unknown format"
	default:
		return name
	}
}

func article(kind string) string {
	switch kind {
	case "":
		return "an image, video or audio file"
	case image, audio:
		return "an " + kind
	}
	return "a " + kind
}
