package outbound_test

import (
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/outbound"
)

func TestAServerHasOneNameInAllSpellings(t *testing.T) {
	t.Parallel()
	for want, spellings := range map[string][]string{
		"https://api.example": {
			"https://api.example", "https://api.example/", "https://API.example/x", "HTTPS://api.example?secret=1", "https://api.example.", "https://Api.Example.:443/x#y",
			"https://api.example:443", "https://api.example:0443", "https://api.example:", "https://user:secret@api.example/", "https://api。example", "https://ａｐｉ.example",
		},
		"http://api.example":                 {"http://api.example", "http://api.example:80/x", "http://API.EXAMPLE.:80"},
		"https://api.example:80":             {"https://api.example:80", "https://API.example.:80/x"},
		"http://api.example:443":             {"http://api.example:443"},
		"https://api.example:8443":           {"https://api.example:8443/x", "https://API.example:08443"},
		"https://xn--bcher-kva.example":      {"https://bücher.example", "https://BÜCHER.example.", "https://xn--bcher-kva.example", "https://XN--Bcher-KVA.example", "https://b%C3%BCcher.example:443"},
		"https://xn--bcher-kva.example:8443": {"https://bücher.example:8443"},
		"https://[2001:db8::1]":              {"https://[2001:db8::1]", "https://[2001:DB8:0:0:0:0:0:1]:443/x", "https://[2001:0db8::0001]"},
		"https://[2001:db8::1]:8443":         {"https://[2001:DB8::1]:8443"},
		"http://[fe80::1%25eth0]":            {"http://[fe80::1%25eth0]/", "http://[FE80::1%25eth0]:80/"},
		"https://192.0.2.1":                  {"https://192.0.2.1", "https://192.0.2.1.", "https://[::ffff:192.0.2.1]:443", "https://[::FFFF:C000:201]", "https://１９２.0.2.1"},
		"https://under_score.example":        {"https://under_score.example", "https://Under_Score.example."}, // no valid host name, but names like this exist
		"https://xn--a.example":              {"https://xn--a.example", "https://XN--A.example"},              // no valid punycode
	} {
		for _, spelling := range spellings {
			if got, err := outbound.Origin(spelling); got != want || err != nil {
				t.Errorf("%q: %q, %v; want %q", spelling, got, err, want)
			}
		}
		if again, err := outbound.Origin(want); again != want || err != nil {
			t.Errorf("%q again: %q, %v", want, again, err)
		}
	}
}

func TestWhatNamesNoServerIsAnErrorWithoutTheURL(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "/hook?secret", "secret", "ftp://secret@api.example", "https://", "https://?secret", "https://.", "https://user:secret@", "https://a secret/", "https://api.example:secret/", "https://[::secret]/", "https://api.example:1:1/secret", "%zz://secret"} {
		got, err := outbound.Origin(raw)
		if got != "" || err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %q, %v", raw, got, err)
		}
	}
}
