package board_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/web/pages/board"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// counter counts the queries of a pool.
type counter struct{ n atomic.Int64 }

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.n.Add(1)
	return ctx
}

func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// counted is a board on a database of its own, and what it asks.
func counted(t *testing.T) (*board.Board, *counter) {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(dbtest.NewURL(t))
	if err != nil {
		t.Fatal(err)
	}
	asked := new(counter)
	cfg.ConnConfig.Tracer = asked
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return board.New(pool, nil, slog.New(slog.NewTextHandler(t.Output(), nil))), asked
}

func TestAllWhoLookShareOneCount(t *testing.T) {
	t.Parallel()
	b, asked := counted(t)
	if n := asked.n.Load(); n != 0 {
		t.Fatalf("%d queries before anybody looked", n)
	}
	first, err := b.Open(t.Context())
	if err != nil || first.At.IsZero() || len(first.Hours) != 24 {
		t.Fatalf("%v: at %s, %d hours", err, first.At, len(first.Hours))
	}
	once := asked.n.Load()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if shown, err := b.Open(t.Context()); err != nil || shown.At != first.At {
				t.Errorf("%v: counted again at %s", err, shown.At)
			}
		})
	}
	all.Wait()
	if n := asked.n.Load(); n != once {
		t.Errorf("%d more queries", n-once)
	}
}

// What an event brings about comes a moment later: a webhook that arrives is none.
func TestAnEventIsFollowedByALookAndThenByNone(t *testing.T) {
	t.Parallel()
	b, asked := counted(t)
	if _, err := b.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	idle := func(when string) {
		t.Helper()
		before := asked.n.Load()
		for range 5 {
			if shown, err := b.Follow(t.Context(), false); err != nil || shown.Again != 0 {
				t.Errorf("%s: %v, again in %s", when, err, shown.Again)
			}
		}
		if n := asked.n.Load(); n != before {
			t.Errorf("%s: %d queries", when, n-before)
		}
	}
	idle("before")
	shown, err := b.Follow(t.Context(), true)
	looks := map[time.Time]bool{shown.At: true}
	for err == nil && shown.Again > 0 {
		select {
		case <-time.After(shown.Again):
		case <-t.Context().Done():
			t.Fatal("it never ends")
		}
		shown, err = b.Follow(t.Context(), false)
		looks[shown.At] = true
	}
	if err != nil || len(looks) < 2 || len(looks) > 3 {
		t.Errorf("%v: %d looks", err, len(looks))
	}
	idle("after")
}
