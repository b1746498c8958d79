package webhook_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/webhook"
)

// Whatever a receiver answers: the result can be stored and shown, the status
// alone decides whether it is delivered, and no wait is longer than a day.
func FuzzAnswers(f *testing.F) {
	f.Add(200, "", "", "", []byte("ok"))
	f.Add(302, "", "http://169.254.169.254/latest?token=1", "", []byte{})
	f.Add(429, "1e99", "", "", []byte("\x00\xff"))
	f.Add(503, "Fri, 31 Dec 9999 23:59:59 GMT", "", "", []byte("slow"))
	f.Add(307, "", "mailto:a\u202eb\u200b  c", "", []byte{})
	f.Add(410, "-5", "::", "disable, abort-message", []byte("gone"))
	f.Fuzz(func(t *testing.T, status int, retryAfter, location, wish string, body []byte) {
		res := &http.Response{StatusCode: status, Header: http.Header{}}
		res.Header.Set("Retry-After", retryAfter)
		res.Header.Set("Location", location)
		res.Header.Set("webhook-delivery", wish)
		r := webhook.Answered(res, body, time.Now())
		if r.RetryAfter < 0 || r.RetryAfter > webhook.MaxRetryAfter {
			t.Errorf("Retry-After %q is %s", retryAfter, r.RetryAfter)
		}
		if r.Delivered() != (status >= 200 && status < 300) {
			t.Errorf("HTTP %d: delivered %v", status, r.Delivered())
		}
		if !utf8.ValidString(r.Body) || strings.ContainsRune(r.Body, 0) || !utf8.ValidString(r.Reason()) {
			t.Errorf("Postgres would refuse %q or %q", r.Body, r.Reason())
		}
		if r.Reason() != outbound.Line(r.Reason()) {
			t.Errorf("the reason is not one safe line: %q", r.Reason())
		}
	})
}
