package lookback

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// list is of the ids that fit among 1 to newest; an index finds them if it is told so. A row takes its time.
func list(newest int64, fits func(int64) bool, index bool, perRow time.Duration) (l List[int64], reads *[]Range) {
	reads = new([]Range)
	read := func(_ context.Context, r Range, limit int, patience time.Duration) ([]int64, error) {
		*reads = append(*reads, r)
		var found []int64
		var took time.Duration
		for id := r.Before - 1; id >= r.From && len(found) < limit; id-- {
			if took += perRow; took > patience {
				return nil, ErrTooLong
			}
			if fits(id) {
				found = append(found, id)
			}
		}
		return found, nil
	}
	l = List[int64]{
		ID:     func(id int64) int64 { return id },
		Newest: func(context.Context) (int64, error) { return newest, nil },
		Read:   read,
	}
	if index {
		l.ReadIndexed = read
	}
	return l, reads
}

func page(t *testing.T, l List[int64], s Search) Page[int64] {
	t.Helper()
	p, err := l.Page(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Page by page the whole list is read, each item once, whatever fits and however often the time is over.
func TestPagesMakeTheWholeList(t *testing.T) {
	t.Parallel()
	for name, fits := range map[string]func(int64) bool{
		"all":           func(int64) bool { return true },
		"none":          func(int64) bool { return false },
		"a few":         func(id int64) bool { return id%3001 == 1 },
		"the oldest":    func(id int64) bool { return id == 1 },
		"the newest":    func(id int64) bool { return id == 20_000 },
		"only old ones": func(id int64) bool { return id < 3000 },
	} {
		for _, index := range []bool{true, false} {
			for _, within := range []time.Duration{0, time.Millisecond, time.Hour} {
				l, _ := list(20_000, fits, index, 100*time.Nanosecond)
				var want, got []int64
				for id := int64(20_000); id > 0; id-- {
					if fits(id) {
						want = append(want, id)
					}
				}
				for s := (Search{Limit: 500, Within: within}); ; {
					p := page(t, l, s)
					got = append(got, p.Items...)
					if s.Before > 0 && p.Next >= s.Before {
						t.Fatalf("%s: from %d it goes on at %d", name, s.Before, p.Next)
					}
					if s.Before = p.Next; p.Next == 0 {
						break
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s, with an index %t, within %s: %d are read, not %d", name, index, within, len(got), len(want))
				}
			}
		}
	}
}

func TestAPageOfWhatIsFrequentReadsOneWindow(t *testing.T) {
	t.Parallel()
	l, reads := list(1_000_000, func(id int64) bool { return id%10 == 0 }, true, 0)
	p := page(t, l, Search{Limit: 50})
	if len(p.Items) != 50 || p.Next != p.Items[49] || p.Cut || len(*reads) != 1 {
		t.Errorf("%+v after %v", p, *reads)
	}
}

func TestWhatAnIndexFindsIsReadAtOnce(t *testing.T) {
	t.Parallel()
	l, reads := list(1_000_000, func(id int64) bool { return id == 7 }, true, 0)
	if p := page(t, l, Search{Limit: 50}); !slices.Equal(p.Items, []int64{7}) || p.Next != 0 || p.Cut || len(*reads) != 2 {
		t.Errorf("%+v after %v", p, *reads)
	}
}

// Where the time is over it is said how far back was looked.
func TestAPageTellsHowFarBackWasLooked(t *testing.T) {
	t.Parallel()
	l, reads := list(1_000_000, func(id int64) bool { return id == 7 }, true, 10*time.Microsecond)
	p := page(t, l, Search{Limit: 50, Within: time.Nanosecond})
	if len(p.Items) != 0 || !p.Cut || p.Next != 1_000_000+1-firstWindow || (*reads)[1].From != 1 {
		t.Errorf("%+v after %v", p, *reads)
	}
}

func TestAWindowGrowsWithTheTimeThatIsLeft(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		took, left time.Duration
		cutOff     bool
		want       int64
	}{
		{time.Millisecond, 100 * time.Millisecond, false, 8000},
		{time.Millisecond, 4 * time.Millisecond, false, 4000},
		{10 * time.Millisecond, time.Millisecond, false, 500},
		{10 * time.Millisecond, time.Second, true, 500},
		{0, time.Second, false, 8000},
	} {
		if got := nextWindow(2000, c.took, c.left, 500, c.cutOff); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// The newest part is skipped but for what was found there.
func TestANewestPartIsSkipped(t *testing.T) {
	t.Parallel()
	l, reads := list(1_000_000, func(id int64) bool { return id <= 1000 || id == 900_000 }, false, 0)
	l.Skip = func(context.Context, Range, int, time.Duration) ([]int64, int64, error) {
		return []int64{900_000}, 1100, nil
	}
	if p := page(t, l, Search{Limit: 2}); !slices.Equal(p.Items, []int64{900_000, 1000}) || p.Next != 1000 || len(*reads) != 1 {
		t.Errorf("%+v after %v", p, *reads)
	}
}

func TestAnErrorEndsAPage(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	l, _ := list(10, nil, false, 0)
	l.Read = func(context.Context, Range, int, time.Duration) ([]int64, error) { return nil, failed }
	if _, err := l.Page(t.Context(), Search{Limit: 1}); !errors.Is(err, failed) {
		t.Error(err)
	}
}
