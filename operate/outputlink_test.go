package operate_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
)

func TestALinkOpensItsPathUntilItsTime(t *testing.T) {
	t.Parallel()
	pool, now := dbtest.New(t), time.Unix(1_800_000_000, 0)
	const path = "/v1/outputs/7/video/0/content"
	link, err := operate.SignLink(t.Context(), pool, path, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(link)
	if err != nil || at.Path != path || len(at.Query()) != 2 {
		t.Fatalf("%s: %v", link, err)
	}
	expires, signature := at.Query().Get("expires"), at.Query().Get("signature")
	if expires != "1800003600" {
		t.Errorf("%s does not tell its time", link)
	}
	check := func(path, expires, signature string, now time.Time) error {
		_, err := operate.CheckLink(t.Context(), pool, path, expires, signature, now)
		return err
	}
	if err := check(path, expires, signature, now); err != nil {
		t.Errorf("our own link: %v", err)
	}
	for name, err := range map[string]error{
		"another output":      check("/v1/outputs/7/video/1/content", expires, signature, now),
		"its thumbnail":       check("/v1/outputs/7/video/0/thumbnail", expires, signature, now),
		"a later time":        check(path, "1900000000", signature, now),
		"the time otherwise":  check(path, "+"+expires, signature, now),
		"no time":             check(path, "", signature, now),
		"no signature":        check(path, expires, "", now),
		"a shorter signature": check(path, expires, signature[:40], now),
		"another signature":   check(path, expires, strings.Repeat("A", len(signature)), now),
		"of no base64":        check(path, expires, "!"+signature, now),
		"another time, later": check(path, "1800003601", signature, now.Add(2*time.Hour)), // says nothing of the time
	} {
		if !errors.Is(err, operate.ErrBadLink) {
			t.Errorf("%s: %v", name, err)
		}
	}
	expired, ok := errors.AsType[operate.LinkExpired](check(path, expires, signature, now.Add(time.Hour)))
	if !ok || !expired.At.Equal(now.Add(time.Hour)) {
		t.Errorf("after its time: %v", expired)
	}
}

func TestALinkOfAnotherDeploymentIsRefused(t *testing.T) {
	t.Parallel()
	pool, now := dbtest.New(t), time.Now()
	link, err := operate.SignLink(t.Context(), pool, "/x", now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(link)
	if err == nil {
		_, err = pool.Exec(t.Context(), `update klingwatch.event_secret set secret = sha256('of another deployment')`)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operate.CheckLink(t.Context(), pool, at.Path, at.Query().Get("expires"), at.Query().Get("signature"), now); !errors.Is(err, operate.ErrBadLink) {
		t.Error(err)
	}
}
