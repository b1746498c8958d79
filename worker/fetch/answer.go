package fetch

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// unknown is a length that nobody has told.
const unknown = -1

// part is how far a download is, and what a request for the rest says.
type part struct {
	have, total int64
	validator   string // a strong ETag or Last-Modified of the file; "": the rest cannot be asked for safely
}

// header asks for what is missing, if it is still the same file.
func (p part) header() http.Header {
	if p.have == 0 || p.validator == "" {
		return nil
	}
	return http.Header{"Range": {fmt.Sprintf("bytes=%d-", p.have)}, "If-Range": {p.validator}}
}

// answer is what a host's headers promise.
type answer struct {
	part          // have: where the body begins
	until   int64 // where it ends, or unknown
	gzipped bool  // it must be decoded
	closes  bool  // nothing tells its end but the end of the connection
}

// judge reads the headers of an answer to a request for part p. It returns an Error
// where they promise no file, with wrongPart where the host does not understand ranges.
func judge(res *http.Response, p part, host string, now time.Time) (a answer, wrongPart bool, err error) {
	asked := p.header() != nil
	switch {
	case res.StatusCode == http.StatusPartialContent && asked:
		a, err = rest(res, p, host)
		return a, err != nil, err
	case res.StatusCode == http.StatusRequestedRangeNotSatisfiable && asked:
		return answer{}, true, refusal(res, host, now)
	case res.StatusCode == http.StatusOK || res.StatusCode == http.StatusNonAuthoritativeInfo:
		a, err = whole(res, host)
		return a, false, err
	case res.StatusCode == http.StatusNoContent:
		return answer{}, false, fail(NotAFile, host, "the host answered with nothing (HTTP 204)")
	}
	return answer{}, false, refusal(res, host, now)
}

// whole judges an answer that promises all of a file.
func whole(res *http.Response, host string) (answer, error) {
	a := answer{part: part{total: res.ContentLength, validator: validatorOf(res.Header)}, until: res.ContentLength}
	a.closes = res.ContentLength == unknown && len(res.TransferEncoding) == 0
	switch encoding := strings.ToLower(strings.TrimSpace(strings.Join(res.Header.Values("Content-Encoding"), ","))); encoding {
	case "", "identity", "binary":
	case "gzip", "x-gzip":
		// ranges count encoded bytes, which are gone: such a file is not resumed
		a.gzipped, a.total, a.until, a.validator = true, unknown, unknown, ""
	default:
		return answer{}, fail(NotAFile, host, "the file is encoded as %q, though it was asked for as it is", encoding)
	}
	return a, nil
}

// rest judges an answer that promises what follows p, or the beginning of it.
func rest(res *http.Response, p part, host string) (answer, error) {
	first, last, total, ok := contentRange(res.Header.Get("Content-Range"))
	switch {
	case !ok || first != p.have || p.total != unknown && total != p.total:
		return answer{}, fail(Trouble, host, "the host sent another part of the file than it was asked for")
	case res.ContentLength != unknown && res.ContentLength != last-first+1:
		return answer{}, fail(Trouble, host, "the length of a part of the file contradicts its range")
	case changed(res.Header, p.validator):
		return answer{}, fail(Trouble, host, "the host sent a part of another file")
	case res.Header.Get("Content-Encoding") != "":
		return answer{}, fail(Trouble, host, "the host encoded a part of the file")
	}
	return answer{part: part{have: first, total: total, validator: p.validator}, until: last + 1}, nil
}

// changed reports whether a header contradicts the validator of an earlier one.
func changed(header http.Header, validator string) bool {
	name := "Last-Modified"
	if strings.HasPrefix(validator, `"`) {
		name = "ETag"
	}
	now := header.Get(name)
	return now != "" && now != validator
}

// contentRange reads "bytes 5-9/10".
func contentRange(text string) (first, last, total int64, ok bool) {
	span, size, _ := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	from, to, _ := strings.Cut(span, "-")
	for _, number := range []struct {
		text string
		into *int64
	}{{from, &first}, {to, &last}, {size, &total}} {
		n, err := strconv.ParseUint(number.text, 10, 63)
		if err != nil {
			return 0, 0, 0, false
		}
		*number.into = int64(n)
	}
	return first, last, total, strings.HasPrefix(text, "bytes ") && first <= last && last < total
}

// validatorOf returns what proves that a later answer is of the same file, byte by
// byte (RFC 9110, 8.8): a strong ETag, or a Last-Modified that is older than the answer.
func validatorOf(header http.Header) string {
	if tag := header.Get("ETag"); len(tag) > 2 && strings.HasPrefix(tag, `"`) && strings.HasSuffix(tag, `"`) {
		return tag
	}
	modified, err := http.ParseTime(header.Get("Last-Modified"))
	if err != nil {
		return ""
	}
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil || date.Sub(modified) < time.Second {
		return ""
	}
	return header.Get("Last-Modified")
}
