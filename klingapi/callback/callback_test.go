package callback_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/klingapi/callback"
	"github.com/klingwatch/klingwatch/webhook"
)

func TestACallbackSaysWhichTaskItIsAbout(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body string
		want       []string
	}{
		{"old API, running", `{"task_id":"867283741759111202","task_status":"processing","task_status_msg":"","created_at":1774805076166,"updated_at":1774805076166}`, []string{"867283741759111202"}},
		{"old API, ended", `{"task_id":"CjMT","task_status":"succeed","task_info":{"external_task_id":"job-7"},"task_result":{"videos":[{"id":"v1","url":"https://cdn.example/o.mp4"}]}}`, []string{"CjMT", "job-7"}},
		{"new family", `{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}`, []string{"1234567890"}},
		{"new family with the caller's id", `{"id":"1","status":"failed","external_id":"job-7","outputs":[]}`, []string{"1", "job-7"}},
		{"a number beyond 2^53", `{"task_id":867283741759111203,"task_status":"failed"}`, []string{"867283741759111203"}},
		{"both", `{"id":1,"task_id":"task_A","task_status":"failed"}`, []string{"task_A"}},
		{"a byte order mark", "\xef\xbb\xbf" + `{"task_id":"a"}`, []string{"a"}},
		{"the same id twice", `{"task_id":"a","external_task_id":"a"}`, []string{"a"}},
		{"odd types beside it", `{"task_id":"a","external_id":{"b":1},"task_info":{"external_task_id":[1]}}`, []string{"a"}},
		{"an odd type around it", `{"task_info":"x","task_id":"a"}`, []string{"a"}},

		{"no id", `{"task_status":"succeed"}`, nil},
		{"an empty id", `{"task_id":"","task_status":"succeed"}`, nil},
		{"an id that is none", `{"task_id":{"a":1}}`, nil},
		{"a list", `[{"task_id":"a"}]`, nil},
		{"garbage", `task_id=a`, nil},
		{"nothing", ``, nil},
		{"a NUL", `{"task_id":"a\u0000b"}`, nil},
		{"far too long", `{"task_id":"` + strings.Repeat("a", 300) + `"}`, nil},
	} {
		if got := callback.Read([]byte(test.body)).IDs; !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestACallbackSaysTheStatus(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"task_id":"a","task_status":"processing"}`: "processing",
		`{"id":"a","status":"succeeded"}`:            "succeeded",
		`{"id":"a","status":{"x":1}}`:                "",
		`{"id":"a"}`:                                 "",
	} {
		if got := callback.Read([]byte(body)).Word; got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

// The vector of Kling's documentation.
const (
	klingSecret    = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
	klingBody      = `{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}`
	klingSignature = "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="
)

func TestOnlyWhatKlingSignedIsAccepted(t *testing.T) {
	t.Parallel()
	sent := time.Unix(1781080794, 0)
	for _, test := range []struct {
		name                        string
		secret, id, at, body, signs string
		now                         time.Time
		want                        bool
	}{
		{"Kling's own vector", klingSecret, "9876543210", "1781080794", klingBody, klingSignature, sent, true},
		{"four minutes late", klingSecret, "9876543210", "1781080794", klingBody, klingSignature, sent.Add(4 * time.Minute), true},
		{"while a secret is rotated", klingSecret, "9876543210", "1781080794", klingBody, "v1,AAAA v2,x " + klingSignature, sent, true},

		{"another body", klingSecret, "9876543210", "1781080794", klingBody + " ", klingSignature, sent, false},
		{"another id", klingSecret, "9876543211", "1781080794", klingBody, klingSignature, sent, false},
		{"another time", klingSecret, "9876543210", "1781080795", klingBody, klingSignature, sent, false},
		{"another secret", webhook.NewSecret(), "9876543210", "1781080794", klingBody, klingSignature, sent, false},
		{"repeated after ten minutes", klingSecret, "9876543210", "1781080794", klingBody, klingSignature, sent.Add(10 * time.Minute), false},
		{"from the future", klingSecret, "9876543210", "1781080794", klingBody, klingSignature, sent.Add(-10 * time.Minute), false},
		{"no signature", klingSecret, "9876543210", "1781080794", klingBody, "", sent, false},
		{"no time", klingSecret, "9876543210", "", klingBody, klingSignature, sent, false},
		{"a secret that is none", "secret", "9876543210", "1781080794", klingBody, klingSignature, sent, false},
	} {
		header := http.Header{}
		header.Set("webhook-id", test.id)
		header.Set("webhook-timestamp", test.at)
		header.Set("webhook-signature", test.signs)
		if got := callback.Verify(test.secret, header, []byte(test.body), test.now); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestASecretIsChecked(t *testing.T) {
	t.Parallel()
	if err := callback.CheckSecret(klingSecret); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"", "secret", "whsec_", "whsec_c2hvcnQ=", webhook.NewPrivateKey()} {
		if callback.CheckSecret(wrong) == nil {
			t.Errorf("%q passed", wrong)
		}
	}
}
