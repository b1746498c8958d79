package deliver

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/metrics"
)

// A bug while sending must not take a slot of its receiver for ever.
func TestAPanicWhileSendingFreesTheSlot(t *testing.T) {
	t.Parallel()
	s := &Sender{Config: Config{Webhooks: nil, Metrics: &metrics.New().Webhooks, Log: slog.New(slog.DiscardHandler)}, receivers: newReceivers()}
	target := db.DeliveryTarget{URL: "https://app.example/hook", Tries: 1}
	p, err := s.receivers.acquire(t.Context(), placeOf(target))
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("sending without a client does not panic")
			}
		}()
		_, _, _ = s.send(t.Context(), target, p)
	}()
	if _, sending := s.receivers.survey(); sending != 0 {
		t.Errorf("%d slots are taken", sending)
	}
}

func TestAPassIsGivenBackOnce(t *testing.T) {
	t.Parallel()
	rs := newReceivers()
	p, err := rs.acquire(t.Context(), alone("a"))
	if err != nil {
		t.Fatal(err)
	}
	rs.release(p, reply{answer: answerGood, took: time.Millisecond})
	rs.cancel(p)
	if _, sending := rs.survey(); sending != 0 {
		t.Errorf("%d requests are on their way", sending)
	}
}

// Every webhook waits for the key, and each is tried every minute.
func TestAWrongKeyIsLoggedOnceForManyWebhooks(t *testing.T) {
	t.Parallel()
	ring := func(letter string) *keyring.Keyring {
		k, err := keyring.Parse(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, 32))))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	var out bytes.Buffer
	s := &Sender{Config: Config{Keyring: ring("a"), Log: slog.New(slog.NewTextHandler(&out, nil))}}
	stored := ring("b").Seal("whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=")
	for id := range int64(100) {
		target := db.DeliveryTarget{ID: id, Secrets: []string{stored}}
		_, err := s.message(target)
		if err == nil {
			t.Fatal("opened with another key")
		}
		s.logUnsigned(target, err)
	}
	if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), "level=ERROR") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}

// What was due when it began to wait for its turn is due when that comes, also where the
// database's clock has gone back meanwhile.
func TestWhatWasDueStaysDue(t *testing.T) {
	t.Parallel()
	due, ahead := -time.Second, time.Hour
	before := db.DeliveryTarget{State: db.DeliveryPending, Attempts: 3, Tries: 3, Wait: &due}
	changed := func(change func(*db.DeliveryTarget)) db.DeliveryTarget { t := before; change(&t); return t }
	for name, c := range map[string]struct {
		now  db.DeliveryTarget
		want bool
	}{
		"unchanged":                {before, true},
		"the clock went back":      {changed(func(t *db.DeliveryTarget) { t.Wait = &ahead }), true},
		"another attempt was made": {changed(func(t *db.DeliveryTarget) { t.Wait, t.Attempts, t.Tries = &ahead, 4, 4 }), false},
		"sent again by a person":   {changed(func(t *db.DeliveryTarget) { t.Since = time.Now() }), true},
		"canceled":                 {changed(func(t *db.DeliveryTarget) { t.State, t.Wait = db.DeliveryCanceled, nil }), false},
		"its endpoint is disabled": {changed(func(t *db.DeliveryTarget) { t.Disabled = true }), false},
	} {
		if got := sendable(c.now, before); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A delivery whose job has slept for as long as was planned is due, also where its row
// says otherwise because the database's clock has gone back meanwhile.
func TestWhatHasWaitedIsDue(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	slept := Sleep{Length: 5 * time.Minute, Tries: 3, Since: begun}
	for name, c := range map[string]struct {
		wait  time.Duration
		tries int
		since time.Time
		slept Sleep
		want  bool
	}{
		"in time":                             {-time.Second, 3, begun, slept, true},
		"woken early":                         {4 * time.Minute, 3, begun, slept, false},
		"woken at once":                       {5*time.Minute + time.Second, 3, begun, slept, false},
		"the clock went back":                 {time.Hour, 3, begun, slept, true},
		"went back before the first attempt":  {time.Hour, 0, begun, Sleep{}, true},
		"went back after it was sent again":   {time.Hour, 0, begun.Add(time.Second), slept, true},
		"another attempt was made":            {time.Hour, 4, begun, slept, false},
		"put to sleep by an older version":    {time.Hour, 3, begun, Sleep{}, false},
		"held back before its first attempt":  {time.Minute, 0, begun, Sleep{Length: time.Minute, Since: begun}, false},
		"sent again, and failed by another":   {time.Hour, 1, begun.Add(time.Second), slept, false},
		"a first attempt that is in a moment": {time.Second, 0, begun, Sleep{}, false},
	} {
		if got := isDue(db.DeliveryTarget{Wait: &c.wait, Tries: c.tries, Since: c.since}, c.slept); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
