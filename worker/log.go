package worker

import (
	"regexp"
	"sync"
)

// urlQuery finds the query of a URL within a text: output URLs are signed by
// the provider, receivers' hold tokens.
var urlQuery = regexp.MustCompile(`(https?://[^\s"'?]*)\?[^\s"']*`)

// redact takes the queries out of the URLs in a text for the log.
func redact(text string) string { return urlQuery.ReplaceAllString(text, "$1?...") }

// maxWords bounds the memory for words that come from outside.
const maxWords = 100

// wordLog remembers which unknown status words were told already.
type wordLog struct {
	mu   sync.Mutex
	told map[string]bool
}

// isNew tells whether a word should be told: once, and only so many of them.
func (l *wordLog) isNew(word string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told[word] || len(l.told) >= maxWords {
		return false
	}
	if l.told == nil {
		l.told = map[string]bool{}
	}
	l.told[word] = true
	return true
}
