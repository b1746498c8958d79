package lookback

import (
	"context"
	"errors"
	"time"
)

const (
	// firstWindow is how many ids are looked at first: what is frequent fills a page of them.
	firstWindow = 2000
	// growth bounds how much larger a window is than the one before: what is rare here may
	// be frequent there.
	growth = 4
	// firstPatience is for the first window, which is slow only where the database is.
	firstPatience = 1500 * time.Millisecond
	// indexPatience is how long an index may take that leads to what is chosen.
	indexPatience = 250 * time.Millisecond
)

// ErrTooLong says that a read was cut off after its time.
var ErrTooLong = errors.New("reading took too long")

// Search is how a page is read.
type Search struct {
	Before int64         // only of those with a lower id; 0: of all
	Limit  int           // at most so many
	Within time.Duration // how long to look back for what no index finds
}

// Page is a part of a list.
type Page[T any] struct {
	Items []T
	Next  int64 // where the list goes on: Before of its next page; 0: it ends here
	Cut   bool  // the time was over: those below Next were not looked at
}

// Range is of ids.
type Range struct{ From, Before int64 }

// List is what pages are read from.
type List[T any] struct {
	ID     func(T) int64
	Newest func(context.Context) (int64, error)
	// Read returns the newest items of a range first, or ErrTooLong.
	Read func(ctx context.Context, r Range, limit int, patience time.Duration) ([]T, error)
	// ReadIndexed is Read for all that is left, where an index may lead to it; nil: none can.
	ReadIndexed func(ctx context.Context, r Range, limit int, patience time.Duration) ([]T, error)
	// Skip returns the few items of a range that are above an id, and that id; nil: there
	// are as many in the newest part as elsewhere.
	Skip func(ctx context.Context, r Range, limit int, patience time.Duration) (items []T, to int64, err error)
}

// reading is a page that is being read.
type reading[T any] struct {
	List[T]
	limit int // one more than the page has: whether there are more
	items []T
	left  int64 // those below are to be looked at
}

// Page reads a page.
func (l List[T]) Page(ctx context.Context, s Search) (Page[T], error) {
	r := &reading[T]{List: l, limit: s.Limit + 1, left: s.Before}
	if s.Before == 0 {
		newest, err := l.Newest(ctx)
		if err != nil {
			return Page[T]{}, err
		}
		r.left = newest + 1
	}
	if err := r.look(ctx, s.Within); err != nil {
		return Page[T]{}, err
	}
	return r.page(s.Limit), nil
}

func (r *reading[T]) page(limit int) Page[T] {
	switch {
	case len(r.items) > limit:
		return Page[T]{Items: r.items[:limit], Next: r.ID(r.items[limit-1])}
	case r.left > 1:
		return Page[T]{Items: r.items, Next: r.left, Cut: true}
	}
	return Page[T]{Items: r.items}
}

func (r *reading[T]) look(ctx context.Context, within time.Duration) error {
	end := time.Now().Add(within)
	if r.Skip != nil {
		items, to, err := r.Skip(ctx, Range{1, r.left}, r.limit, indexPatience)
		if err == nil {
			r.items, r.left = items, min(r.left, to)
		} else if !errors.Is(err, ErrTooLong) {
			return err
		}
	}
	if err := r.read(ctx, r.Read, firstWindow, firstPatience); err != nil || r.done() {
		return err
	}
	if r.ReadIndexed != nil {
		if err := r.read(ctx, r.ReadIndexed, r.left, indexPatience); !errors.Is(err, ErrTooLong) {
			return err
		}
		end = time.Now().Add(within)
	}
	return r.goBack(ctx, end)
}

// goBack looks at one window after the other.
func (r *reading[T]) goBack(ctx context.Context, end time.Time) error {
	const least = firstWindow / growth
	for window := int64(firstWindow); !r.done(); {
		begun := time.Now()
		left := end.Sub(begun)
		if left <= 0 {
			return nil
		}
		err := r.read(ctx, r.Read, window, left)
		if err != nil && !errors.Is(err, ErrTooLong) {
			return err
		}
		window = nextWindow(window, time.Since(begun), time.Until(end), least, err != nil)
	}
	return nil
}

// nextWindow is as large as the time that is left allows, going by how long the last one
// took; half of it stays for what is slower than that.
func nextWindow(last int64, took, left time.Duration, least int64, cutOff bool) int64 {
	if cutOff {
		return max(last/growth, least)
	}
	fits := int64(float64(last) * float64(left/2) / float64(max(took, time.Microsecond)))
	return max(min(fits, last*growth), least)
}

// read reads a window.
func (r *reading[T]) read(ctx context.Context, read func(context.Context, Range, int, time.Duration) ([]T, error), window int64, patience time.Duration) error {
	span := Range{max(r.left-window, 1), r.left}
	if r.done() {
		return nil
	}
	items, err := read(ctx, span, r.limit-len(r.items), patience)
	if err != nil {
		return err
	}
	r.items, r.left = append(r.items, items...), span.From
	return nil
}

func (r *reading[T]) done() bool { return r.left <= 1 || len(r.items) >= r.limit }
