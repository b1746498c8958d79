package fetch

import (
	"bytes"
	"encoding/binary"
	"io"
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
	for offset := int64(0); offset < size; {
		header := at(file, offset, 16)
		if len(header) < 8 {
			return false
		}
		length := int64(binary.BigEndian.Uint32(header))
		switch {
		case length == 0: // to the end, wherever it is
			length = size - offset
		case length == 1 && len(header) == 16:
			length = int64(binary.BigEndian.Uint64(header[8:]) & (1<<62 - 1))
		}
		index = index || string(header[4:8]) == "moov"
		data = data || string(header[4:8]) == "mdat"
		if length < 8 || length > size-offset {
			return false
		}
		offset += length
	}
	return index && data
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
