package worker

import "sync"

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
