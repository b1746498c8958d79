package outbound

import (
	"io"
	"slices"
)

// firstRead is the room for a body of unknown length, in bytes.
const firstRead = 512

// ReadBody reads at most limit bytes and reports whether there were more. With an
// error it returns the bytes before it. It waits for one byte beyond the limit to
// see whether there is more: the body needs a deadline.
func ReadBody(body io.Reader, limit int) (content []byte, more bool, err error) {
	return AppendBody(make([]byte, 0, min(firstRead, limit+1)), body, limit)
}

// AppendBody is ReadBody into a buffer that may be used again: the content is what
// buffer holds, which counts, and what is read.
func AppendBody(buffer []byte, body io.Reader, limit int) (content []byte, more bool, err error) {
	for {
		if len(buffer) == cap(buffer) {
			buffer = slices.Grow(buffer, firstRead)
		}
		n, err := body.Read(buffer[len(buffer):min(cap(buffer), limit+1)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case len(buffer) > limit:
			return buffer[:limit], true, nil
		case err == io.EOF:
			return buffer, false, nil
		case err != nil:
			return buffer, false, err
		}
	}
}
