package callers

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestAFollowerNotesMessagesWithData(t *testing.T) {
	t.Parallel()
	f := &follower{}
	text := "retry: 2000\n: klingwatch\n\nid: 7\ndata: {}\n\nid: 8\n: alive\n\nid: 9\ndata: " + strings.Repeat("x", 10_000) + "\n\nid: 10\ndata: cut off"
	if err := f.read(bufio.NewReader(strings.NewReader(text))); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if len(f.got) != 2 || f.got[0].id != 7 || f.got[1].id != 9 || f.last != 9 || f.back != 2*time.Second {
		t.Errorf("got %+v, the cursor is %d, back after %s", f.got, f.last, f.back)
	}
}

func TestWhatIsLostAndDoubledIsCounted(t *testing.T) {
	t.Parallel()
	var seen Followed
	compare([]arrival{{1, 15}, {2, 18}, {2, 30}}, []Told{{1, 10, 12, true}, {2, 10, 20, true}, {3, 30, 31, true}}, &seen)
	if seen.Lost != 1 || seen.Doubled != 1 || len(seen.Latencies) != 2 || seen.Latencies[0] != 3 || seen.Latencies[1] != 8 {
		t.Errorf("saw %+v", seen)
	}
}
