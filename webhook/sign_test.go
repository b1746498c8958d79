package webhook_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/webhook"
)

// The key pair of the specification.
const (
	specPrivateKey = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	specPublicKey  = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
)

// Vectors of the Standard Webhooks specification and of Kling's documentation.
func TestSignaturesAreThoseOfTheSpecification(t *testing.T) {
	t.Parallel()
	const specBody = `{"test": 2432232314}`
	for _, v := range []struct {
		secret, id string
		at         int64
		body, want string
	}{
		{
			"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
			specBody, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		},
		{
			specPrivateKey, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
			specBody, "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
		},
		{
			"whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=", "9876543210", 1781080794,
			`{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}`, "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
		},
	} {
		got, err := webhook.Sign([]string{v.secret}, v.id, time.Unix(v.at, 0), []byte(v.body))
		if err != nil || got != v.want {
			t.Errorf("%s: %s, %v", v.id, got, err)
		}
	}
}

func TestWhileASecretIsRotatedBothSign(t *testing.T) {
	t.Parallel()
	newer, older := webhook.NewSecret(), webhook.NewSecret()
	body := []byte("{}")
	// a receiver that knows v1 only is not disturbed by v1a
	signatures, err := webhook.Sign([]string{newer, webhook.NewPrivateKey(), older}, "msg_1", time.Now(), body)
	if err != nil || len(strings.Fields(signatures)) != 3 {
		t.Fatalf("%q, %v", signatures, err)
	}
	for _, secret := range []string{newer, older} {
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		headers := http.Header{}
		headers.Set("webhook-id", "msg_1")
		headers.Set("webhook-timestamp", fmt.Sprint(time.Now().Unix()))
		headers.Set("webhook-signature", signatures)
		if err := verifier.Verify(body, headers); err != nil {
			t.Errorf("with %s: %v", secret, err)
		}
	}
}

func TestSignaturesStandInTheOrderOfTheKeys(t *testing.T) {
	t.Parallel()
	secret, private, at := webhook.NewSecret(), webhook.NewPrivateKey(), time.Now()
	sign := func(keys ...string) string {
		signatures, err := webhook.Sign(keys, "msg_1", at, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		return signatures
	}
	v1, v1a := sign(secret), sign(private)
	if !strings.HasPrefix(v1, "v1,") || !strings.HasPrefix(v1a, "v1a,") || sign(secret, private) != v1+" "+v1a || sign(private, secret) != v1a+" "+v1 {
		t.Errorf("%s\n%s", v1, v1a)
	}
}

func TestAReceiverVerifiesV1aWithThePublicKey(t *testing.T) {
	t.Parallel()
	private := webhook.NewPrivateKey()
	public, err := webhook.PublicKey(private)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := webhook.Sign([]string{private}, "msg_1", time.Unix(1614265330, 0), []byte(`{"a":"é"}`))
	if err != nil {
		t.Fatal(err)
	}
	bytes := func(prefix, text string) []byte {
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, prefix))
		if err != nil {
			t.Fatal(err)
		}
		return decoded
	}
	if !ed25519.Verify(bytes("whpk_", public), []byte(`msg_1.1614265330.{"a":"é"}`), bytes("v1a,", signature)) {
		t.Errorf("%s does not verify %s", public, signature)
	}
}

func TestThePublicKeyIsThatOfTheSpecification(t *testing.T) {
	t.Parallel()
	if got, err := webhook.PublicKey(specPrivateKey); err != nil || got != specPublicKey {
		t.Errorf("%s, %v", got, err)
	}
	for _, key := range []string{"", specPublicKey, webhook.NewSecret(), specPrivateKey[:40]} {
		if got, err := webhook.PublicKey(key); !errors.Is(err, webhook.ErrInvalidKey) || got != "" {
			t.Errorf("of %q: %q, %v", key, got, err)
		}
	}
}

func TestAMalformedKeyIsRefused(t *testing.T) {
	t.Parallel()
	private := func(size int) string { return "whsk_" + base64.StdEncoding.EncodeToString(make([]byte, size)) }
	for name, keys := range map[string][]string{
		"none":                      nil,
		"empty":                     {""},
		"prefix alone":              {"whsec_"},
		"too short":                 {"whsec_c2hvcnQ="},
		"too long":                  {"whsec_" + strings.Repeat("QUFB", 30)},
		"not base64":                {"whsec_%%%"},
		"no prefix":                 {strings.TrimPrefix(webhook.NewSecret(), "whsec_")},
		"bad one behind a good one": {webhook.NewSecret(), "whsec_"},
		"public key":                {specPublicKey},
		"private prefix alone":      {"whsk_"},
		"seed alone":                {private(32)},
		"private, not base64":       {"whsk_%%%"},
		"another key's public half": {private(64)},
		"private key as secret":     {strings.Replace(specPrivateKey, "whsk_", "whsec_", 1) + "QUFB"},
	} {
		if got, err := webhook.Sign(keys, "msg_1", time.Now(), nil); !errors.Is(err, webhook.ErrInvalidKey) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// The key and its thumbprint are those of RFC 8037, appendices A.2 and A.3.
func TestTheKeySetIsThatOfTheRFCs(t *testing.T) {
	t.Parallel()
	const want = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"sig","alg":"EdDSA","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}]}`
	got, err := webhook.JWKS([]string{"whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if got, err := webhook.JWKS(nil); err != nil || string(got) != `{"keys":[]}` {
		t.Errorf("of no keys: %s, %v", got, err)
	}
	for _, key := range []string{"", "whpk_", specPrivateKey, "whpk_QUFB"} {
		if got, err := webhook.JWKS([]string{specPublicKey, key}); !errors.Is(err, webhook.ErrInvalidKey) || got != nil {
			t.Errorf("of %q: %s, %v", key, got, err)
		}
	}
}
