package outbound

import "io"

// ReadBody reads at most limit bytes and reports whether there were more. With an
// error it returns the bytes before it. It waits for one byte beyond the limit to
// see whether there is more: the body needs a deadline.
func ReadBody(body io.Reader, limit int) (content []byte, more bool, err error) {
	content, err = io.ReadAll(io.LimitReader(body, int64(limit)+1))
	if len(content) > limit {
		return content[:limit], true, nil
	}
	return content, false, err
}
