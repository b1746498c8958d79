package operate_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
)

func TestASessionLastsAsLongAsItsKey(t *testing.T) {
	t.Parallel()
	pool, now := dbtest.New(t), time.Now()
	key, _, err := operate.AddAPIKey(t.Context(), pool, operate.NewAPIKey{Name: "ops", Scope: db.ScopeWrite})
	if err != nil {
		t.Fatal(err)
	}
	session, expires, err := operate.OpenSession(t.Context(), pool, key, now)
	if err != nil || !expires.Equal(now.Add(operate.SessionLife)) {
		t.Fatalf("expires %v, error %v", expires, err)
	}
	use := func(text string, at time.Time) error {
		used, err := operate.UseSession(t.Context(), pool, text, at)
		if err == nil && used.ID != key.ID {
			t.Errorf("the session is of key %q", used.ID)
		}
		return err
	}
	if err := use(session, now); err != nil {
		t.Errorf("a new session: %v", err)
	}
	for name, text := range map[string]string{
		"nothing": "", "dots": "..", "another key": "AAAAAAAA" + session[8:], "without a signature": session[:20] + ".", "a longer life": session[:9] + "9" + session[9:],
	} {
		if err := use(text, now); !errors.Is(err, operate.ErrNoAPIKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := use(session, expires); !errors.Is(err, operate.ErrNoAPIKey) {
		t.Errorf("at its end: %v", err)
	}
	if err := operate.RevokeAPIKey(t.Context(), pool, key.ID); err != nil {
		t.Fatal(err)
	}
	if err := use(session, now); !errors.Is(err, operate.ErrNoAPIKey) {
		t.Errorf("after its key was revoked: %v", err)
	}
}

func TestASessionEndsWithItsKeyAtTheLatest(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	key, _, err := operate.AddAPIKey(t.Context(), pool, operate.NewAPIKey{Name: "guest", Scope: db.ScopeRead, Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, expires, err := operate.OpenSession(t.Context(), pool, key, time.Now()); err != nil || !expires.Equal(*key.ExpiresAt) {
		t.Errorf("expires %v, error %v", expires, err)
	}
}

func TestTheFirstKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	errs := make([]error, 8)
	var making sync.WaitGroup
	for i := range errs {
		making.Go(func() { _, _, errs[i] = operate.AddFirstAPIKey(t.Context(), pool, "first") })
	}
	making.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, operate.ErrAnyAPIKey) {
			t.Error(err)
		}
	}
	if made != 1 {
		t.Errorf("%d first keys were made", made)
	}
}
