package memory_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingwatch/klingwatch/web/pages/memory"
)

// counter finds out how often it was asked.
type counter struct {
	mu    sync.Mutex
	n     int
	takes time.Duration
	err   error
}

func (c *counter) read(ctx context.Context) (int, error) {
	select {
	case <-time.After(c.takes):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n, c.err
}

func newMemory() *memory.Memory[int] {
	return memory.New[int](10*time.Second, time.Minute, 2*time.Second, 2, slog.New(slog.DiscardHandler))
}

func TestAValueIsFoundOutOnceForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, c := newMemory(), &counter{takes: time.Second}
		var asking sync.WaitGroup
		for range 10 {
			asking.Go(func() {
				if got, _, err := m.Get(t.Context(), "a", c.read); got != 1 || err != nil {
					t.Errorf("%d, %v", got, err)
				}
			})
		}
		asking.Wait()
	})
}

func TestAnOldValueIsToldWhileItIsFoundOutAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, c := newMemory(), &counter{takes: time.Second}
		ask := func(want int, waits time.Duration) {
			t.Helper()
			begun := time.Now()
			if got, _, err := m.Get(t.Context(), "a", c.read); got != want || err != nil || time.Since(begun) != waits {
				t.Errorf("%d after %s, %v; want %d after %s", got, time.Since(begun), err, want, waits)
			}
		}
		ask(1, time.Second)
		ask(1, 0)
		time.Sleep(11 * time.Second)
		ask(1, 0) // it is read meanwhile
		time.Sleep(2 * time.Second)
		ask(2, 0)
		time.Sleep(2 * time.Minute)
		ask(3, time.Second)
	})
}

func TestAnErrorIsNotRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, c := newMemory(), &counter{err: errors.New("away")}
		if _, _, err := m.Get(t.Context(), "a", c.read); err == nil {
			t.Error("no error")
		}
		c.err = nil
		if got, _, err := m.Get(t.Context(), "a", c.read); got != 2 || err != nil {
			t.Errorf("%d, %v", got, err)
		}
		c.err = errors.New("away again")
		time.Sleep(20 * time.Second)
		for range 2 { // the old value is better than none
			if got, _, err := m.Get(t.Context(), "a", c.read); got != 2 || err != nil {
				t.Errorf("%d, %v", got, err)
			}
			synctest.Wait()
		}
	})
}

func TestNobodyWaitsLongerThanTheyWant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, c := newMemory(), &counter{takes: time.Hour}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := m.Get(ctx, "a", c.read); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(2 * time.Second) // the reading ends by itself
		synctest.Wait()
	})
}

func TestTheOldestIsForgottenFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, c := newMemory(), &counter{}
		for i, key := range []string{"a", "b", "c", "b", "a"} {
			time.Sleep(time.Second)
			got, _, _ := m.Get(t.Context(), key, c.read)
			if want := []int{1, 2, 3, 2, 4}[i]; got != want {
				t.Errorf("%s: %d, want %d", key, got, want)
			}
		}
	})
}
