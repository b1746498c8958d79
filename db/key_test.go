package db_test

import (
	"slices"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestTwoProcessesMakeTheDeploymentsKeysOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	first := begin(t, pool)
	check(t, db.EnsureDeploymentKeys(t.Context(), first, "whsec_first", "whsk_first"))
	wait := dbtest.Blocked(t, pool, func() error {
		return db.EnsureDeploymentKeys(t.Context(), pool, "whsec_second", "whsk_second")
	})
	commit(t, first)
	check(t, wait())
	check(t, db.EnsureDeploymentKeys(t.Context(), pool, "whsec_third", "whsk_third"))
	if got := must(db.SigningSecrets(t.Context(), pool, nil))(t); !slices.Equal(got, []string{"whsec_first", "whsk_first"}) {
		t.Errorf("the deployment signs with %q", got)
	}
}

func TestRotatedKeysSignUntilTheirGraceHasPassed(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, db.EnsureDeploymentKeys(t.Context(), pool, "whsec_0", "whsk_0"))
	endpoint := addEndpoint(t, pool, "https://a.example/", func(e *db.NewEndpoint) { e.Secret = "whsec_own" })
	rotate := func(owner *int64, version, secret string, grace time.Duration) {
		t.Helper()
		check(t, db.RetireKeys(t.Context(), pool, db.KeyOwner{Endpoint: owner}, version, grace))
		check(t, db.AddKey(t.Context(), pool, db.KeyOwner{Endpoint: owner}, version, secret))
	}
	signs := func(owner *int64, want ...string) {
		t.Helper()
		if got := must(db.SigningSecrets(t.Context(), pool, owner))(t); !slices.Equal(got, want) {
			t.Errorf("signing with %q, want %q", got, want)
		}
	}
	signs(&endpoint, "whsec_own", "whsk_0")
	rotate(nil, db.KeyV1, "whsec_1", time.Hour)
	rotate(nil, db.KeyV1, "whsec_2", 2*time.Hour) // the first keeps its hour
	signs(nil, "whsec_2", "whsec_1", "whsec_0", "whsk_0")
	signs(&endpoint, "whsec_own", "whsk_0")
	rotate(nil, db.KeyV1a, "whsk_1", time.Hour)
	signs(&endpoint, "whsec_own", "whsk_1", "whsk_0")

	keys := must(db.SigningKeys(t.Context(), pool))(t)
	var order []string
	left := map[string]time.Duration{}
	now := must(db.Clock(t.Context(), pool))(t)
	for _, k := range keys {
		order = append(order, k.Secret)
		if k.ExpiresAt != nil {
			left[k.Secret] = k.ExpiresAt.Sub(now)
		}
		if (k.Endpoint == nil) != (k.URL == nil) || k.URL != nil && (*k.URL != "https://a.example/" || *k.Endpoint != endpoint) || k.Version != db.KeyV1 && k.Version != db.KeyV1a {
			t.Errorf("%+v", k)
		}
	}
	if !slices.Equal(order, []string{"whsec_2", "whsec_1", "whsec_0", "whsk_1", "whsk_0", "whsec_own"}) {
		t.Errorf("keys in the order %q", order)
	}
	if len(left) != 3 || !near(left["whsec_0"], time.Hour) || !near(left["whsec_1"], 2*time.Hour) || !near(left["whsk_0"], time.Hour) {
		t.Errorf("they expire in %v", left)
	}

	rotate(nil, db.KeyV1, "whsec_3", 0) // at once, the older ones too
	signs(nil, "whsec_3", "whsk_1", "whsk_0")
	check(t, db.PruneKeys(t.Context(), pool))
	if n := value[int](t, pool, `select count(*) from klingwatch.signing_keys`); n != 4 {
		t.Errorf("%d keys are left", n)
	}
	if err := db.AddKey(t.Context(), pool, db.KeyOwner{}, db.KeyV1, "whsec_4"); !db.RefusedValue(err) {
		t.Errorf("a second current key: %v", err)
	}
}

// Two people rotate a key at once: the second is refused, and nothing of it stays.
func TestTwoRotateAKeyAtOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, db.EnsureDeploymentKeys(t.Context(), pool, "whsec_0", "whsk_0"))
	first, second := begin(t, pool), begin(t, pool)
	check(t, db.RetireKeys(t.Context(), first, db.KeyOwner{}, db.KeyV1, time.Hour))
	check(t, db.AddKey(t.Context(), first, db.KeyOwner{}, db.KeyV1, "whsec_1"))
	wait := dbtest.Blocked(t, pool, func() error { return db.RetireKeys(t.Context(), second, db.KeyOwner{}, db.KeyV1, 0) })
	commit(t, first)
	check(t, wait())
	if err := db.AddKey(t.Context(), second, db.KeyOwner{}, db.KeyV1, "whsec_2"); !db.RefusedValue(err) {
		t.Errorf("the second: %v", err)
	}
	check(t, second.Rollback(t.Context()))
	if got := must(db.SigningSecrets(t.Context(), pool, nil))(t); !slices.Equal(got, []string{"whsec_1", "whsec_0", "whsk_0"}) {
		t.Errorf("the deployment signs with %q", got)
	}
}

func TestAKeyIsStoredAnewUnlessItHasChanged(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, db.EnsureDeploymentKeys(t.Context(), pool, "whsec_0", "whsk_0"))
	id := must(db.SigningKeys(t.Context(), pool))(t)[0].ID
	first := begin(t, pool)
	check(t, db.StoreKey(t.Context(), first, id, "whsec_0", "enc_first"))
	wait := dbtest.Blocked(t, pool, func() error { return db.StoreKey(t.Context(), pool, id, "whsec_0", "enc_second") })
	commit(t, first)
	check(t, wait())
	if got := must(db.SigningSecrets(t.Context(), pool, nil))(t); !slices.Equal(got, []string{"enc_first", "whsk_0"}) {
		t.Errorf("stored are %q", got)
	}
}
