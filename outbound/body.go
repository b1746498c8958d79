package outbound

import "io"

// ReadBody reads at most limit bytes and reports whether there were more. An
// error comes with the bytes before it. To learn whether there is more it waits
// for one byte beyond the limit: bound the body by a deadline.
func ReadBody(body io.Reader, limit int) (content []byte, more bool, err error) {
	content, err = io.ReadAll(io.LimitReader(body, int64(limit)+1))
	if len(content) > limit {
		return content[:limit], true, nil
	}
	return content, false, err
}
