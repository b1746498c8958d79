package klingapi

import (
	"bytes"
	"hash/maphash"
	"net/http"
)

// Known remembers an answer that says plainly that a task runs, in a few bytes. The zero
// Known remembers none.
type Known struct {
	word   string // of the record
	digest uint64 // of the body without ids of requests
}

// knownOf remembers the answer behind a reply. Any answer but one that says plainly that
// the task runs is read each time.
func knownOf(ref Ref, a answer, reply *Reply) Known {
	r := reply.Record
	plain := a.StatusCode == http.StatusOK && reply.Code == "" && (r.Status == Submitted || r.Status == Processing) && ParseStatus(r.Word) == r.Status
	if !plain {
		return Known{}
	}
	return Known{word: r.Word, digest: digest(a.body, ref)}
}

// isAnswer reports whether an answer says what the known one said.
func (k Known) isAnswer(ref Ref, a answer) bool {
	return k.word != "" && a.StatusCode == http.StatusOK && digest(a.body, ref) == k.digest
}

// reply is what is known.
func (k Known) reply() *Reply {
	return &Reply{HTTPStatus: http.StatusOK, Known: k, Record: Record{Word: k.word, Status: ParseStatus(k.word)}}
}

// seed keeps relays from making up bodies of one digest.
var seed = maphash.MakeSeed()

// digest is the same for bodies that differ in nothing but ids of requests: most relays
// give each answer one of its own.
func digest(body []byte, ref Ref) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	cuts := byte(0)
	for {
		before, value, after := cutRequestID(body)
		_, _ = h.Write(before)
		switch {
		case value == nil:
			_ = h.WriteByte(cuts) // so that no other body can look like one that was cut
			return h.Sum64()
		case string(value) == ref.TaskID: // it names the task
			_, _ = h.Write(value)
		default:
			_ = h.WriteByte(0) // in JSON, no string holds it
			cuts++
		}
		body = after
	}
}

var requestIDField = []byte(`"request_id"`)

// cutRequestID finds the first id of a request that cannot be anything else: in valid
// JSON, the name with a colon behind it is that of a field, and a value of letters,
// digits and hyphens is neither a link nor JSON in a string, nor is it empty. The quotes
// around it stay in before and after. A nil value: there is none.
func cutRequestID(body []byte) (before, value, after []byte) {
	for from := 0; ; {
		at := bytes.Index(body[from:], requestIDField)
		if at < 0 {
			return body, nil, nil
		}
		from += at + len(requestIDField)
		begin := skip(body, skip(body, skip(body, from, isSpace), isColon), isSpace)
		if begin == len(body) || body[begin] != '"' {
			continue
		}
		begin++
		end := skip(body, begin, isIDCharacter)
		if end > begin && end < len(body) && body[end] == '"' {
			return body[:begin], body[begin:end], body[end:]
		}
	}
}

// skip returns the first place from at on that does not hold such a character.
func skip(body []byte, at int, such func(byte) bool) int {
	for at < len(body) && such(body[at]) {
		at++
	}
	return at
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isColon(c byte) bool { return c == ':' }

func isIDCharacter(c byte) bool { return isLetterOrDigit(rune(c)) || c == '-' || c == '_' }
