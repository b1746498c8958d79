package operate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/lookback"
	"github.com/klingwatch/klingwatch/outbound"
)

const (
	// partialDir holds files on their way, below the directory that is copied into.
	partialDir = ".partial"
	// partialKept is after when another run's file on its way is taken for one that was left.
	partialKept = 24 * time.Hour
	// mostFailures in a row end the copying: what stands in the way of one more stands in
	// the way of all.
	mostFailures = 10
	// copyPage is how many tasks are read at once.
	copyPage = 200
)

// FileName is a readable name for a kept file on any file system: that of its task, what
// it is, and which.
func FileName(o db.ListedOutput) string { return baseName(o) + extension(o) }

// ThumbnailName is the same for its thumbnail.
func ThumbnailName(o db.ListedOutput) string { return baseName(o) + "-thumbnail.jpg" }

func baseName(o db.ListedOutput) string {
	return fmt.Sprintf("%s-%s-%d", safeName(taskName(o)), o.Kind, o.Position)
}

// filePath is where a kept file is copied to. The folder has our id in it: no two tasks
// share one, whatever their apps call them.
func filePath(o db.ListedOutput) string {
	return path.Join(safeName(taskName(o))+"-"+strconv.FormatInt(o.Task, 10), fmt.Sprintf("%s-%d%s", o.Kind, o.Position, extension(o)))
}

// taskName is how the app calls a task, or the provider.
func taskName(o db.ListedOutput) string {
	if o.ExternalID != nil {
		return *o.ExternalID
	}
	return o.TaskID
}

func extension(o db.ListedOutput) string {
	if o.ArchiveKey == nil {
		return ""
	}
	return path.Ext(*o.ArchiveKey)
}

// longestName leaves room for the rest of a name within the 255 bytes of file systems.
const longestName = 100

// reserved are names that Windows gives to devices, with whatever comes behind a dot.
var reserved = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)`)

// safeName makes of any text a part of a file's name that every file system takes.
func safeName(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, outbound.Printable(text))
	for len(text) > longestName {
		_, last := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-last]
	}
	text = cmp.Or(strings.Trim(text, " ."), "task")
	if reserved.MatchString(text) {
		text = "_" + text
	}
	return text
}

// Copies tells how far the copying of kept files is.
type Copies struct {
	Files, Bytes int64 // to copy

	Fetched, FetchedBytes int64
	There                 int64 // were there already
	Failed                int64
	Lacking               map[string]int64 // those that are not kept, by archive state or db.ArchiveNone
}

// Done counts the files that were dealt with.
func (c Copies) Done() int64 { return c.Fetched + c.There + c.Failed }

// CopyFiles copies the kept files of a choice into a directory, each under its final name
// only when its sha256 is right; what is there already is left. After each file tell gets
// its name, and why it failed. It goes on after a failure, but not after ten in a row.
func CopyFiles(ctx context.Context, pool *pgxpool.Pool, store archive.Store, c db.OutputChoice, dir string, tell func(name string, so Copies, err error)) (Copies, error) {
	so, err := countCopies(ctx, pool, c)
	if err != nil {
		return so, err
	}
	into, err := openCopies(store, dir)
	if err != nil {
		return so, err
	}
	defer into.close()
	c.Archive = db.ArchiveStored
	failures := 0
	for search := (lookback.Search{Limit: copyPage, Within: time.Second}); ; {
		page, err := db.ListOutputs(ctx, pool, c, search)
		if err != nil {
			return so, fmt.Errorf("reading the outputs: %w", err)
		}
		for _, o := range page.Items {
			fetched, err := into.copy(ctx, o)
			failures++
			switch {
			case ctx.Err() != nil:
				return so, ctx.Err()
			case err != nil:
				so.Failed++
			case fetched:
				failures, so.Fetched, so.FetchedBytes = 0, so.Fetched+1, so.FetchedBytes+*o.Bytes
			default:
				failures, so.There = 0, so.There+1
			}
			tell(filePath(o), so, err)
			if failures == mostFailures {
				return so, fmt.Errorf("gave up after %d failures in a row; run it again to go on", failures)
			}
		}
		if search.Before = page.Next; search.Before == 0 {
			return so, nil
		}
	}
}

// countCopies counts what there is to copy.
func countCopies(ctx context.Context, pool *pgxpool.Pool, c db.OutputChoice) (Copies, error) {
	so := Copies{Lacking: map[string]int64{}}
	counted, err := db.CountOutputs(ctx, pool, c)
	if err != nil {
		return so, fmt.Errorf("counting the outputs: %w", err)
	}
	for _, of := range counted {
		switch {
		case of.State == nil:
			so.Lacking[db.ArchiveNone] = of.Files
		case *of.State == db.ArchiveStored:
			so.Files, so.Bytes = of.Files, of.Bytes
		default:
			so.Lacking[*of.State] = of.Files
		}
	}
	return so, nil
}

// copies is a directory that kept files are copied into. Nothing is written outside of it,
// wherever links in it lead.
type copies struct {
	store archive.Store
	root  *os.Root
}

func openCopies(store archive.Store, dir string) (copies, error) {
	err := os.MkdirAll(dir, 0o755)
	if err != nil {
		return copies{}, fmt.Errorf("making the directory: %w", err)
	}
	into := copies{store: store}
	if into.root, err = os.OpenRoot(dir); err != nil {
		return copies{}, fmt.Errorf("opening the directory: %w", err)
	}
	into.clean()
	return into, nil
}

// clean removes what a killed run has left.
func (c copies) clean() {
	left, _ := fs.ReadDir(c.root.FS(), partialDir)
	for _, entry := range left {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > partialKept {
			_ = c.root.Remove(path.Join(partialDir, entry.Name()))
		}
	}
}

func (c copies) close() {
	_ = c.root.Remove(partialDir) // unless another run uses it
	_ = c.root.Close()
}

// copy copies a file unless it is there.
func (c copies) copy(ctx context.Context, o db.ListedOutput) (fetched bool, err error) {
	name := filePath(o)
	there, err := c.has(ctx, name, o)
	if there || err != nil {
		return false, err
	}
	content, err := c.store.Open(ctx, *o.ArchiveKey)
	if err != nil {
		return false, err
	}
	defer content.Close()
	if err := c.root.MkdirAll(partialDir, 0o755); err != nil {
		return false, err
	}
	partial := path.Join(partialDir, rand.Text())
	if err = c.write(ctx, partial, content, o); err == nil {
		err = c.root.MkdirAll(path.Dir(name), 0o755)
	}
	if err == nil {
		err = c.root.Rename(partial, name)
	}
	if err != nil {
		_ = c.root.Remove(partial)
	}
	return err == nil, err
}

// has tells whether a file is there, with the right content.
func (c copies) has(ctx context.Context, name string, o db.ListedOutput) (bool, error) {
	info, err := c.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() != *o.Bytes) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	file, err := c.root.Open(name)
	if err != nil {
		return false, err
	}
	defer file.Close()
	return isFile(ctx, file, io.Discard, o)
}

// write writes a file on its way, down to the disk.
func (c copies) write(ctx context.Context, name string, content io.Reader, o db.ListedOutput) error {
	file, err := c.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	right, err := isFile(ctx, content, file, o)
	if err == nil && !right {
		err = fmt.Errorf("the archive has other content under %s than was stored", *o.ArchiveKey)
	}
	if err == nil {
		err = file.Sync()
	}
	return cmp.Or(err, file.Close())
}

// isFile tells whether content is that of a kept file, and copies it meanwhile.
func isFile(ctx context.Context, content io.Reader, to io.Writer, o db.ListedOutput) (bool, error) {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, sum), interruptible{ctx, content})
	want, _ := hex.DecodeString(*o.SHA256) // it differs then
	return n == *o.Bytes && bytes.Equal(sum.Sum(nil), want), err
}

// interruptible is a reader that ends with a context.
type interruptible struct {
	ctx context.Context
	io.Reader
}

// Read reads while the context lasts.
func (r interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
