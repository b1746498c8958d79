package klingapi_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/klingwatch/klingwatch/klingapi"
)

func TestAKeyNeverShowsWhenPrinted(t *testing.T) {
	t.Parallel()
	key := klingapi.StaticKey("sk-secret")
	if printed := fmt.Sprintf("%v %+v %#v %s", key, key, key, key); strings.Contains(printed, "secret") {
		t.Error(printed)
	}
}

func TestAKeyFileIsReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	if _, err := klingapi.NewKeyFile(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v", err)
	}
	write := func(key string, at time.Time) {
		if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write(" \n", time.Unix(1, 0))
	if _, err := klingapi.NewKeyFile(path); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("an empty file: %v", err)
	}
	write("first\n", time.Unix(2, 0))
	file, err := klingapi.NewKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := file.Token(); key != "first" || err != nil {
		t.Errorf("%q, %v", key, err)
	}
	write("second\n", time.Unix(3, 0))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if key, _ := file.Token(); key == "second" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the rotated key is not used")
		}
	}
}

func TestOfficialAuthenticationIsAFreshJWT(t *testing.T) {
	t.Parallel()
	if _, err := klingapi.NewAccessKey("ak", ""); err == nil {
		t.Error("half a pair was accepted")
	}
	credential, err := klingapi.NewAccessKey("ak", "sk")
	if err != nil {
		t.Fatal(err)
	}
	token, err := credential.Token()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return []byte("sk"), nil }, jwt.WithValidMethods([]string{"HS256"})); err != nil {
		t.Fatal(err)
	}
	exp, _ := claims.GetExpirationTime()
	nbf, _ := claims.GetNotBefore()
	iss, _ := claims.GetIssuer()
	if iss != "ak" || exp.Sub(nbf.Time) != 1805*time.Second || !nbf.Before(time.Now()) {
		t.Errorf("iss %s, nbf %s, exp %s", iss, nbf, exp)
	}
	if again, _ := credential.Token(); again != token {
		t.Error("a token that is valid for long was replaced")
	}
}

func TestAFingerprintNamesAKeyWithoutShowingIt(t *testing.T) {
	t.Parallel()
	pair, err := klingapi.NewAccessKey("ak", "sk")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, credential := range []klingapi.Credential{klingapi.StaticKey("sk-one"), klingapi.StaticKey("sk-two"), pair} {
		name := credential.Fingerprint()
		if len(name) != 8 || seen[name] || strings.Contains(name, "sk") {
			t.Errorf("%q", name)
		}
		seen[name] = true
	}
}

// A pause for a refused key must not stop another relay that takes the same key, but
// must hold for all paths of one relay.
func TestACredentialIsThePairOfHostAndKey(t *testing.T) {
	t.Parallel()
	name := func(base, path string, credential klingapi.Credential) string {
		return newClient(t, klingapi.Config{BaseURL: base, TaskPath: path, Credential: credential}).Credential()
	}
	one, two := klingapi.StaticKey("sk-one"), klingapi.StaticKey("sk-two")
	here := name("https://relay.example", "", one)
	if len(here) != 8 || here == one.Fingerprint() {
		t.Errorf("%q is not the name of a pair", here)
	}
	for _, same := range []string{"https://RELAY.example/", "https://relay.example:443", "https://relay.example./api"} {
		if got := name(same, "/tasks?task_ids={task_ids}", one); got != here {
			t.Errorf("%s is %s, want %s", same, got, here)
		}
	}
	for _, other := range []string{name("https://relay.example", "", two), name("https://other.example", "", one), name("https://relay.example:8443", "", one)} {
		if other == here {
			t.Errorf("another key, host or port is %s as well", here)
		}
	}
}

// The clock is that of the test, since the file is looked at once a second.
func TestTheNameOfACredentialFollowsItsKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	synctest.Test(t, func(t *testing.T) {
		write := func(key string) {
			if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		clientOf := func(credential klingapi.Credential) *klingapi.Client {
			return newClient(t, klingapi.Config{BaseURL: "https://relay.example", Credential: credential})
		}
		write("first")
		file, err := klingapi.NewKeyFile(path)
		if err != nil {
			t.Fatal(err)
		}
		client := clientOf(file)
		for _, step := range []struct{ content, key string }{
			{"first", "first"}, {" second\r\n", "second"}, {"no longer a key", "second"}, {"", "second"}, {"third", "third"},
		} {
			write(step.content)
			if key, err := file.Token(); key != step.key || err != nil {
				t.Errorf("%q in the file: %q, %v; want %q", step.content, key, err, step.key)
			}
			if got, want := client.Credential(), clientOf(klingapi.StaticKey(step.key)).Credential(); got != want {
				t.Errorf("%q in the file: %s, want %s", step.content, got, want)
			}
		}
	})
}

// A key with such a character could never be sent, or was copied with something else.
func TestAKeyThatIsNoHeaderIsRefused(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{
		"a space":              "sk-hid den",
		"two keys":             "sk-hidden\nsk-other",
		"Windows":              "sk-hidden\r\nsk-other",
		"a tab":                "sk-hid\tden",
		"with the scheme":      "Bearer sk-hidden",
		"NUL":                  "sk-hid\x00den",
		"an escape":            "sk-hid\x1b[31mden",
		"DEL":                  "sk-hidden\x7f",
		"a no-break space":     "sk-hid\u00a0den",
		"a zero-width space":   "sk-hid\u200bden",
		"a byte order mark":    "\ufeffsk-hidden",
		"a line separator":     "sk-hid\u2028den",
		"a line break of C1":   "sk-hid\u0085den",
		"blanks in the middle": "sk   hidden",
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(" "+key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, fileErr := klingapi.NewKeyFile(path)
		_, clientErr := klingapi.New(klingapi.Config{BaseURL: "https://relay.example", Credential: klingapi.StaticKey(key)})
		_, accessErr := klingapi.NewAccessKey(key, "sk")
		_, secretErr := klingapi.NewAccessKey("ak", key)
		for what, err := range map[string]error{"CheckKey": klingapi.CheckKey(key), "a file": fileErr, "a client": clientErr, "an access key": accessErr, "a secret key": secretErr} {
			if err == nil {
				t.Errorf("%s: %s accepts it", name, what)
			} else if text := err.Error(); strings.Contains(text, "hid") || strings.Contains(text, "sk-") || strings.ContainsAny(text, "\n\r\x1b") {
				t.Errorf("%s: %s repeats it, or is no line: %q", name, what, text)
			}
		}
	}
	for _, key := range []string{"", "sk-hidden", "sk_SECRET.0~+/=", "eyJhbGciOiJIUzI1NiJ9.e30.ZRrH-_"} {
		if err := klingapi.CheckKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}
