// Package content answers requests for kept files: whole, in parts, or with the address
// where the store itself has them. It knows nothing of tasks and of who may see what.
//
//	err := content.Serve(w, r, store, content.File{Key: key, ETag: sum, ContentType: "video/mp4", Name: "order-17.mp4", StoredAt: at})
//	// an error that is not Broken: nothing was answered yet
package content

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/archive"
)

// linkLife is for how long an address at the store works; a download that has begun goes
// on.
const linkLife = 5 * time.Minute

// What a request can ask in vain.
var (
	// ErrRange says that the file has no such part; the header Content-Range tells its size.
	ErrRange = errors.New("the file has no such part")
	// ErrPrecondition says that the file is not the one that was asked for by If-Match or
	// If-Unmodified-Since.
	ErrPrecondition = errors.New("the file is another one")
)

// ErrAltered says that the store has another file under the key than was stored.
var ErrAltered = errors.New("the archive has another file under this key than was stored")

// Broken says that an answer had begun and ended early, because of the store.
type Broken struct{ Err error }

// Error tells why.
func (b Broken) Error() string { return "reading a kept file: " + b.Err.Error() }

// Unwrap returns why.
func (b Broken) Unwrap() error { return b.Err }

// File is a kept file as it is served.
type File struct {
	Key         string // in the store
	Size        int64  // 0: not known
	ETag        string // without quotes
	ContentType string
	Name        string        // for who saves it
	Download    bool          // it is to be saved, not shown
	StoredAt    time.Time     // when it came into being
	Fresh       time.Duration // for how long a browser may use it without asking again
}

// Serve answers a request for a file: GET or HEAD, with all that RFC 9110 says of ranges
// and conditions, or a redirect where the store has an address of its own. When it returns
// an error, no answer has begun, unless it is Broken. ctx ends the answer as well.
func Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, store archive.Store, f File) error {
	if r.Method == http.MethodGet { // the store signs its address for one method
		address, err := store.Link(ctx, f.Key, linkLife, f.Name, f.ContentType)
		if err != nil {
			return fmt.Errorf("making an address at the archive: %w", err)
		}
		if address != "" && !f.isKnown(r) {
			w.Header().Set("Location", address)
			w.WriteHeader(http.StatusFound)
			return nil
		}
	}
	kept, err := store.Open(ctx, f.Key)
	if err != nil {
		return err
	}
	defer kept.Close()
	if f.Size != 0 && f.Size != kept.Size {
		return fmt.Errorf("%w: %s", ErrAltered, f.Key)
	}
	f.describe(w.Header())
	out := newWriter(ctx, w, partTime)
	http.ServeContent(out, r, "", f.StoredAt, kept.ReadSeekCloser)
	switch out.refused {
	case 0:
		return out.end()
	case http.StatusRequestedRangeNotSatisfiable:
		return ErrRange
	case http.StatusPreconditionFailed:
		return ErrPrecondition
	}
	return fmt.Errorf("reading %s from the archive failed", f.Key)
}

// isKnown tells whether the client has the file already: then a redirect would have it
// load the file again.
func (f File) isKnown(r *http.Request) bool {
	return strings.Contains(r.Header.Get("If-None-Match"), `"`+f.ETag+`"`)
}

// describe sets the headers of the file. Whatever it holds, a browser runs nothing of it.
func (f File) describe(h http.Header) {
	h.Set("Content-Type", f.ContentType)
	h.Set("Content-Disposition", disposition(f.Name, f.Download))
	h.Set("ETag", `"`+f.ETag+`"`)
	h.Set("Cache-Control", fmt.Sprintf("private, max-age=%d", int(f.Fresh.Seconds())))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
}

// forget takes back what describe has set, for another answer.
func forget(h http.Header) {
	for _, name := range []string{"Content-Type", "Content-Disposition", "Content-Length", "Etag", "Last-Modified", "Accept-Ranges", "Content-Security-Policy"} {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
}

// disposition is the header Content-Disposition (RFC 6266): the name in ASCII for old
// clients, and as it is where that differs.
func disposition(name string, download bool) string {
	kind := "inline"
	if download {
		kind = "attachment"
	}
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\%`, r) {
			return '_'
		}
		return r
	}, name)
	text := kind + `; filename="` + plain + `"`
	if plain != name {
		_, encoded, _ := strings.Cut(mime.FormatMediaType("x", map[string]string{"filename": name}), "filename*=")
		text += "; filename*=" + encoded
	}
	return text
}
