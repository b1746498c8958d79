package fetch

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// inline takes a file that is its own URL: relays send small ones so.
func (d *download) inline() (File, error) {
	const host = "data: URL"
	content, ok := inlined(d.source.URL)
	if !ok {
		return File{}, fail(NotAFile, host, "its text cannot be decoded")
	}
	if err := d.recognise(content, host); err != nil {
		return File{}, err
	}
	if err := d.into.Truncate(0); err != nil {
		return File{}, err
	}
	d.total, d.until = int64(len(content)), int64(len(content))
	if err := d.keep(content, host); err != nil {
		return File{}, err
	}
	return d.file(), nil
}

// inlined decodes a data: URL (RFC 2397).
func inlined(dataURL string) (content []byte, ok bool) {
	media, text, found := strings.Cut(strings.TrimPrefix(dataURL, "data:"), ",")
	text, err := url.PathUnescape(text)
	if !found || err != nil {
		return nil, false
	}
	if !strings.HasSuffix(strings.TrimSpace(media), ";base64") {
		return []byte(text), true
	}
	text = strings.TrimRight(strings.Join(strings.Fields(text), ""), "=")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	content, err = base64.RawStdEncoding.DecodeString(text)
	return content, err == nil
}
