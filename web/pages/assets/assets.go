// Package assets serves the stylesheet, the script and the icon of the pages. Their
// addresses hold a hash of their content, so that browsers keep them for ever.
package assets

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed style.css live.js gallery.js icon.svg
var files embed.FS

// Root is where they are served.
const Root = "/assets/"

// asset is a file as it is sent.
type asset struct {
	media        string
	plain, small []byte // small: compressed
}

var byPath, pathOf = load()

func load() (byPath map[string]asset, pathOf map[string]string) {
	byPath, pathOf = map[string]asset{}, map[string]string{}
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err)
	}
	for _, entry := range entries {
		content, err := files.ReadFile(entry.Name())
		if err != nil {
			panic(err)
		}
		sum, ext := sha256.Sum256(content), path.Ext(entry.Name())
		at := Root + strings.TrimSuffix(entry.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		byPath[at] = asset{mime.TypeByExtension(ext), content, compressed(content)}
		pathOf[entry.Name()] = at
	}
	return byPath, pathOf
}

func compressed(content []byte) []byte {
	var small bytes.Buffer
	w, _ := gzip.NewWriterLevel(&small, gzip.BestCompression) // a level that it knows
	_, _ = w.Write(content)                                   // to memory
	_ = w.Close()
	return small.Bytes()
}

// Path is the address of a file. It panics for one that there is not.
func Path(name string) string {
	at, known := pathOf[name]
	if !known {
		panic(fmt.Sprintf("there is no asset %q", name))
	}
	return at
}

// Serve answers with a file.
func Serve(w http.ResponseWriter, r *http.Request) {
	a, known := byPath[r.URL.Path]
	if !known {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.media)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Vary", "Accept-Encoding")
	content := a.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		content = a.small
		w.Header().Set("Content-Encoding", "gzip")
	}
	_, _ = w.Write(content)
}
