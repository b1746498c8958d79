package db_test

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestAttemptsAreNumberedByDelivery(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 3)
	for range 2 {
		for _, id := range ids {
			record(t, pool, answered(deliveryTarget(t, pool, id), 503))
		}
	}
	last := answered(deliveryTarget(t, pool, ids[1]), 200)
	last.DNSSeconds, last.ConnectSeconds, last.TLSSeconds = new(0.125), new(0.5), new(0.75)
	last.ResponseBody = nil
	record(t, pool, last)
	attempts := must(db.AttemptsOf(t.Context(), pool, []int64{ids[1], ids[0], 12345}))(t)
	var order [][2]int64
	for _, a := range attempts {
		order = append(order, [2]int64{a.Delivery, int64(a.Attempt)})
	}
	want := [][2]int64{{ids[0], 1}, {ids[0], 2}, {ids[1], 1}, {ids[1], 2}, {ids[1], 3}}
	if len(order) != len(want) {
		t.Fatalf("attempts %v, want %v", order, want)
	}
	for i := range want {
		if order[i] != want[i] {
			t.Errorf("attempts %v, want %v", order, want)
		}
	}
	first, final := attempts[0], attempts[4]
	if *first.StatusCode != 503 || *first.Error != "http_status" || *first.ResponseBody != "hello" || *first.RemoteAddr != "127.0.0.1:443" || *first.FirstByteSeconds != 0.25 ||
		first.DNSSeconds != nil || first.ConnectSeconds != nil || first.TLSSeconds != nil || first.FinishedAt.Sub(first.StartedAt) != 2*time.Second {
		t.Errorf("the first: %+v", first)
	}
	if *final.StatusCode != 200 || final.Error != nil || final.ResponseBody != nil || *final.DNSSeconds != 0.125 || *final.ConnectSeconds != 0.5 || *final.TLSSeconds != 0.75 {
		t.Errorf("the last: %+v", final)
	}
	if now := must(db.Clock(t.Context(), pool))(t); !near(now.Sub(final.FinishedAt), time.Second) {
		t.Errorf("it finished at %s, now it is %s", final.FinishedAt, now)
	}
}
