package outbound_test

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klingwatch/klingwatch/outbound"
)

func TestABodyIsReadUpToItsLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body  string
		limit int
		want  string
		more  bool
	}{
		{"", 3, "", false}, {"ab", 3, "ab", false}, {"abc", 3, "abc", false}, {"abcd", 3, "abc", true},
		{"", 0, "", false}, {"a", 0, "", true}, {"abc", math.MaxInt64 - 1, "abc", false},
	} {
		for name, reader := range map[string]io.Reader{"whole": strings.NewReader(c.body), "dripping": iotest.OneByteReader(strings.NewReader(c.body))} {
			got, more, err := outbound.ReadBody(reader, c.limit)
			if string(got) != c.want || more != c.more || err != nil {
				t.Errorf("%q, %d, %s: %q, %v, %v", c.body, c.limit, name, got, more, err)
			}
		}
	}
}

func TestNoMoreThanAByteBeyondTheLimitIsTaken(t *testing.T) {
	t.Parallel()
	endless := strings.NewReader(strings.Repeat("x", 1<<20))
	if got, more, err := outbound.ReadBody(endless, 1000); len(got) != 1000 || !more || err != nil {
		t.Errorf("%d bytes, %v, %v", len(got), more, err)
	}
	if taken := 1<<20 - endless.Len(); taken != 1001 {
		t.Errorf("%d bytes were taken", taken)
	}
}

func TestABodyThatBreaksGivesWhatCameBefore(t *testing.T) {
	t.Parallel()
	broken := errors.New("reset")
	body := func() io.Reader { return io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)) }
	if got, more, err := outbound.ReadBody(body(), 10); string(got) != "abc" || more || !errors.Is(err, broken) {
		t.Errorf("%q, %v, %v", got, more, err)
	}
	if got, more, err := outbound.ReadBody(body(), 2); string(got) != "ab" || !more || err != nil {
		t.Errorf("beyond the limit: %q, %v, %v", got, more, err)
	}
}
