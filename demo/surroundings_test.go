package demo

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

func page(t *testing.T, url string) (status int, text string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestAPortThatIsTakenIsReplacedByAFreeOne(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	busy := taken.Addr().String()
	dir := filepath.Join(t.TempDir(), "kept")
	place, err := KeptPlace(dir)
	if err != nil {
		t.Fatal(err)
	}
	place.Addrs = map[string]string{"service": busy, "relay": "127.0.0.1:0", "receiver": "127.0.0.1:0"}
	var told string
	around, err := place.Surround(t.Context(), SurroundConfig{Relay: klingsim.Config{Seed: 1}, Notify: func(line string) { told += line }})
	if err != nil {
		t.Fatal(err)
	}
	asked, err := (&Place{Addrs: map[string]string{}}).Surround(t.Context(), SurroundConfig{ServiceAddr: busy, Notify: func(string) {}})
	if err != nil || asked.Service.Addr().String() == busy {
		t.Errorf("an address that was asked for: %v", err)
	}
	if err := asked.Close(); err != nil {
		t.Error(err)
	}
	addr := around.Service.Addr().String()
	if addr == busy || told != busy+" is in use by another program: the service listens on "+addr {
		t.Errorf("it listens on %s and says %q", addr, told)
	}
	for url, part := range map[string]string{around.RelayURL: "simulated Kling relay", around.ReceiverURL: "demo receiver"} {
		if code, text := page(t, url+"/"); code != http.StatusOK || !strings.Contains(text, part) {
			t.Errorf("%s: HTTP %d, %s", url, code, text)
		}
	}
	if code, text := page(t, around.ReceiverURL+"/nothing"); code != http.StatusNotFound || text == "" {
		t.Errorf("an unknown path: HTTP %d, %s", code, text)
	}

	// the next run has the same addresses
	if err := place.Save(); err != nil {
		t.Fatal(err)
	}
	if err := around.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := KeptPlace(dir)
	if err != nil || again.Run != 2 || again.Addrs["relay"] != strings.TrimPrefix(around.RelayURL, "http://") {
		t.Errorf("%+v, %v", again, err)
	}
}

// What a killed run left is removed by the next, when it is old and nobody uses it.
func TestPlacesThatWereLeftAreRemoved(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	old := time.Now().Add(-2 * leftAge)
	for name, at := range map[string]time.Time{"klingwatch-dev-left": old, "klingwatch-dev-used": old, "klingwatch-dev-young": time.Now(), "something-else": old} {
		dir := filepath.Join(temp, name)
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "postgres"), 0o700), os.Chtimes(dir, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	RemoveLeftPlaces(temp, func(postgres string) bool { return postgres != filepath.Join(temp, "klingwatch-dev-used", "postgres") })
	if left, _ := filepath.Glob(temp + "/*"); len(left) != 3 || slices.Contains(left, filepath.Join(temp, "klingwatch-dev-left")) {
		t.Errorf("left are %v", left)
	}
}
