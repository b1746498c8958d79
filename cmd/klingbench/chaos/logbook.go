package chaos

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// logbook counts what one service logs. Lines about the work itself do not count: at
// level INFO klingwatch writes one for each change of a task and each webhook.
type logbook struct {
	copyTo io.Writer // of all lines

	mu      sync.Mutex
	seconds map[int64]map[string]int // lines by unix second and message
	addr    string                   // where the present process listens; "" while it does not
	works   bool                     // the present process has begun to work
	latest  string
	crashes []string // lines of a panic
}

func newLogbook(copyTo io.Writer) *logbook {
	return &logbook{copyTo: copyTo, seconds: map[int64]map[string]int{}}
}

// begin is for a fresh process.
func (b *logbook) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addr, b.works, b.latest = "", false, ""
}

// entry is a line of the log.
type entry struct {
	Time     time.Time       `json:"time"`
	Level    string          `json:"level"`
	Message  string          `json:"msg"`
	Addr     string          `json:"addr"`
	Task     json.RawMessage `json:"task"`
	Delivery json.RawMessage `json:"delivery"`
}

// aboutWork reports whether a line says what became of one task or one webhook.
func (e entry) aboutWork() bool { return e.Level == "INFO" && (e.Task != nil || e.Delivery != nil) }

// read takes lines in until the process has ended.
func (b *logbook) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		b.note(lines.Text(), time.Now())
	}
	_, _ = io.Copy(io.Discard, r) // after a line of more than a megabyte
}

// note takes in one line; a line without a time of its own has that of its arrival.
func (b *logbook) note(line string, arrived time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintln(b.copyTo, line)
	b.latest = line
	e := entry{Time: arrived, Message: line}
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		e = entry{Time: arrived, Message: line}
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") || strings.HasPrefix(line, "goroutine ") {
			b.crashes = append(b.crashes, line)
		}
	}
	switch e.Message {
	case "listening":
		b.addr = e.Addr
	case "working":
		b.works = true
	}
	if e.aboutWork() {
		return
	}
	at := e.Time.Unix()
	if b.seconds[at] == nil {
		b.seconds[at] = map[string]int{}
	}
	b.seconds[at][e.Message]++
}

// address is where the present process listens, "" where it does not tell yet.
func (b *logbook) address() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addr
}

func (b *logbook) working() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.works
}

func (b *logbook) last() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.latest
}

func (b *logbook) crashed() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.crashes)
}

// busiest returns the most lines within one second, and what most of them said.
func (b *logbook) busiest() (lines int, said string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, messages := range b.seconds {
		sum := 0
		for _, n := range messages {
			sum += n
		}
		if sum > lines {
			lines, said = sum, commonest(messages)
		}
	}
	return lines, said
}

// commonest names the three messages that come most often.
func commonest(messages map[string]int) string {
	const enough, longest = 3, 80
	names := slices.SortedFunc(maps.Keys(messages), func(a, b string) int {
		return cmp.Or(cmp.Compare(messages[b], messages[a]), strings.Compare(a, b))
	})
	var parts []string
	for _, name := range names[:min(enough, len(names))] {
		short := name
		if len(short) > longest {
			short = short[:longest] + "..."
		}
		parts = append(parts, fmt.Sprintf("%d x %q", messages[name], short))
	}
	return strings.Join(parts, ", ")
}
