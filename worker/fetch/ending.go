package fetch

import (
	"bytes"
	"encoding/binary"
	"io"
	"iter"
)

// endsWell reports whether a file has the end that its format wants. It is asked
// where a host tells no length: there a cut looks like the end. Formats that do not
// tell pass.
func endsWell(file io.ReaderAt, size int64, ext string) bool {
	switch ext {
	case "mp4", "mov", "m4a", "3gp":
		return boxesEnd(file, size)
	case "webp", "wav", "avi":
		head := at(file, 0, 8)
		return len(head) == 8 && int64(binary.LittleEndian.Uint32(head[4:]))+8 <= size
	case "png":
		return bytes.HasPrefix(at(file, size-8, 4), []byte("IEND"))
	case "jpg":
		return bytes.Equal(at(file, size-2, 2), []byte{0xff, 0xd9})
	case "gif":
		return bytes.Equal(at(file, size-1, 1), []byte{';'})
	}
	return true
}

// boxesEnd walks over the boxes of an MP4 file: the last ends with the file, and an
// index and data are among them.
func boxesEnd(file io.ReaderAt, size int64) bool {
	var index, data bool
	for b, whole := range boxes(file, 0, size) {
		if !whole {
			return false
		}
		index = index || b.kind == "moov"
		data = data || b.kind == "mdat"
	}
	return index && data
}

// box is a part of an MP4 file.
type box struct {
	kind     string
	from, to int64 // its content
}

// maxBoxes is more than the longest film has next to each other.
const maxBoxes = 100_000

// boxes goes over the boxes between two places of a file. The last is not whole where it
// does not fit there, or where there are more than any film has.
func boxes(file io.ReaderAt, from, to int64) iter.Seq2[box, bool] {
	return func(yield func(b box, whole bool) bool) {
		for n := 0; from < to; n++ {
			header := at(file, from, 16)
			if len(header) < 8 || n == maxBoxes {
				yield(box{}, false)
				return
			}
			length, head := int64(binary.BigEndian.Uint32(header)), int64(8)
			switch {
			case length == 0: // to the end, wherever it is
				length = to - from
			case length == 1 && len(header) == 16:
				length, head = int64(binary.BigEndian.Uint64(header[8:])&(1<<62-1)), 16
			}
			if length < head || length > to-from {
				yield(box{}, false)
				return
			}
			if !yield(box{string(header[4:8]), from + head, from + length}, true) {
				return
			}
			from += length
		}
	}
}

// at returns the bytes of a file at a place, fewer where it ends.
func at(file io.ReaderAt, offset int64, n int) []byte {
	buffer := make([]byte, n)
	if offset < 0 {
		return nil
	}
	n, _ = file.ReadAt(buffer, offset)
	return buffer[:n]
}
