package standin

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// File is a file that the file host serves. Its content follows from its number and
// size, so that host and measurement agree on it without telling each other: a clip or a
// picture that every program opens, and then filler up to the size.
type File struct {
	Number  int
	Size    int64
	Picture bool // else it is a clip
}

// Kind is the kind of the output.
func (f File) Kind() string {
	if f.Picture {
		return "image"
	}
	return "video"
}

// name is the last part of its URL.
func (f File) name() string {
	ext := "mp4"
	if f.Picture {
		ext = "png"
	}
	return fmt.Sprintf("%d-%d.%s", f.Number, f.Size, ext)
}

// parseFile reads a name.
func parseFile(name string) (f File, ok bool) {
	n, err := fmt.Sscanf(name, "%d-%d.", &f.Number, &f.Size)
	f.Picture = strings.HasSuffix(name, ".png")
	return f, err == nil && n == 2 && f.Number >= 0 && f.Size >= 0 && f.name() == name
}

// SHA256 is in hex.
func (f File) SHA256() string {
	hash := sha256.New()
	_, _ = io.Copy(hash, f.content())
	return hex.EncodeToString(hash.Sum(nil))
}

// content reads the file.
func (f File) content() *io.SectionReader {
	return io.NewSectionReader(fileBytes{f.head(), int64(f.Number)}, 0, f.Size)
}

// head is what stands before the filler.
func (f File) head() []byte {
	if f.Picture { // a reader of PNG stops at the end of the picture
		return binary.BigEndian.AppendUint64(bytes.Clone(picture()), uint64(f.Number))
	}
	clip := klingsim.Clip()
	filler := uint64(max(16, f.Size-int64(len(clip))))
	head := append(bytes.Clone(clip), "\x00\x00\x00\x01free"...) // a box of filler with a long size
	head = binary.BigEndian.AppendUint64(head, filler)
	return binary.BigEndian.AppendUint64(head, uint64(f.Number))
}

// picture is the picture of all PNG files.
var picture = sync.OnceValue(func() []byte {
	shown := image.NewRGBA(image.Rect(0, 0, 640, 360))
	for x := range 640 {
		for y := range 360 {
			shown.Set(x, y, color.RGBA{uint8(x), uint8(y), 128, 255})
		}
	}
	var b bytes.Buffer
	_ = png.Encode(&b, shown) // writing to memory
	return b.Bytes()
})

// filler is random, and read from another place for each file.
var filler = sync.OnceValue(func() []byte {
	b := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{'f', 'i', 'l', 'l'}).Read(b)
	return b
})

// fileBytes is a head and endless filler.
type fileBytes struct {
	head   []byte
	number int64
}

// ReadAt reads the head, and then from the filler, which repeats.
func (b fileBytes) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < int64(len(b.head)) {
		n = copy(p, b.head[offset:])
	}
	for filler := filler(); n < len(p); {
		at := (offset + int64(n) + b.number*4099) % int64(len(filler))
		n += copy(p[n:], filler[at:])
	}
	return n, nil
}
