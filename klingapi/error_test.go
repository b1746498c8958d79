package klingapi_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

const html = "<html><head><title>Attention Required! | Cloudflare</title></head><body>...</body></html>"

// errorRows are the rows of the error table and the other answers that tell
// nothing about the task.
var errorRows = []struct {
	name   string
	file   string // in testdata, or
	body   string
	status int
	want   klingapi.ErrorKind
}{
	{name: "1000 authentication failed", status: 401, body: coded(1000, "Authentication failed"), want: klingapi.Refused},
	{name: "1001 authorization empty", status: 401, body: coded(1001, "Authorization is empty"), want: klingapi.Refused},
	{name: "1002 authorization invalid", status: 401, body: coded(1002, "Authorization is invalid"), want: klingapi.Refused},
	{name: "1003 not yet valid", status: 401, body: coded(1003, "Authorization is not yet valid"), want: klingapi.TokenTime},
	{name: "1004 expired", status: 401, body: coded(1004, "Authorization has expired"), want: klingapi.TokenTime},
	{name: "1100 account exception", status: 429, body: coded(1100, "Account exception"), want: klingapi.Refused},
	{name: "1101 arrears", status: 429, body: coded(1101, "Account in arrears"), want: klingapi.Refused},
	{name: "1102 pack used up", status: 429, body: coded(1102, "Resource pack depleted"), want: klingapi.Refused},
	{name: "1103 no permission", status: 403, body: coded(1103, "Unauthorized access"), want: klingapi.Refused},
	{name: "1200 bad parameters", status: 400, body: coded(1200, "Invalid request parameters"), want: klingapi.Rejected},
	{name: "1201 bad value", status: 400, body: coded(1201, "Invalid parameters: model_name"), want: klingapi.Rejected},
	{name: "1201 task not found", status: 400, file: "error-not-found.json", want: klingapi.NotFound},
	{name: "1202 wrong method", status: 404, body: coded(1202, "The requested method is invalid"), want: klingapi.Misconfigured},
	{name: "1203 no such resource", status: 404, body: coded(1203, "The requested resource does not exist"), want: klingapi.NotFound},
	{name: "1300 policy", status: 400, body: coded(1300, "Trigger strategy of the platform"), want: klingapi.Rejected},
	{name: "1301 content safety", status: 400, body: coded(1301, "Trigger the content security policy"), want: klingapi.Rejected},
	{name: "1302 rate too high", status: 429, body: coded(1302, "The API request is too fast"), want: klingapi.Throttled},
	{name: "1303 concurrency", status: 429, body: coded(1303, "parallel task over resource pack limit"), want: klingapi.Throttled},
	{name: "1304 address not allowed", status: 429, body: coded(1304, "IP whitelist"), want: klingapi.Refused},
	{name: "5000 internal", status: 500, body: coded(5000, "Server internal error"), want: klingapi.Unavailable},
	{name: "5001 maintenance", status: 503, body: coded(5001, "Server temporarily unavailable"), want: klingapi.Unavailable},
	{name: "5002 timeout", status: 504, body: coded(5002, "Server internal timeout"), want: klingapi.Unavailable},
	{name: "code beats status", status: 200, body: coded(1302, "too fast"), want: klingapi.Throttled},
	{name: "unknown code, 429", status: 429, body: coded(9999, "something new"), want: klingapi.Throttled},
	{name: "unknown code, 400", status: 400, body: coded(9999, "something new"), want: klingapi.Rejected},
	{name: "new-api task_not_exist", status: 400, file: "error-not-found-newapi.json", want: klingapi.NotFound},
	{name: "gateway: model not found", status: 404, file: "error-gateway.json", want: klingapi.Rejected},
	{name: "gateway: invalid token", status: 401, file: "error-gateway-key.json", want: klingapi.Refused},
	{name: "gateway: no quota", status: 403, file: "error-gateway-quota.json", want: klingapi.Refused},
	{name: "success envelope without a task", status: 200, file: "envelope-success-without-task.json", want: klingapi.Unreadable},
	{name: "HTML 404: wrong base URL", status: 404, body: html, want: klingapi.Misconfigured},
	{name: "HTML 200", status: 200, body: html, want: klingapi.Unreadable},
	{name: "HTML 502", status: 502, body: html, want: klingapi.Unavailable},
	{name: "HTML 403 of a firewall", status: 403, body: html, want: klingapi.Unavailable},
	{name: "HTML 429", status: 429, body: html, want: klingapi.Throttled},
	{name: "plain 401", status: 401, body: "unauthorized", want: klingapi.Refused},
	{name: "redirect", status: 302, body: "", want: klingapi.Misconfigured},
	{name: "empty body", status: 200, body: "", want: klingapi.Unreadable},
	{name: "truncated JSON", status: 200, body: `{"code":0,"data":{"task_status":"succ`, want: klingapi.Unreadable},
	{name: "trailing garbage", status: 200, body: `{"code":0,"data":{"task_id":"t","task_status":"failed"}}<br>`, want: klingapi.Unreadable},
	{name: "JSON that is no object", status: 200, body: `"failed"`, want: klingapi.Unreadable},
	{name: "too deep", status: 200, body: strings.Repeat("[", 5000) + strings.Repeat("]", 5000), want: klingapi.Unreadable},
	{name: "too large", status: 200, body: `{"x":"` + strings.Repeat("y", klingapi.MaxBody) + `"}`, want: klingapi.Unreadable},
	{name: "bare status is no record", status: 500, body: `{"status":"failed","message":"internal"}`, want: klingapi.Unavailable},
}

func coded(code int, message string) string {
	return fmt.Sprintf(`{"code":%d,"message":%q,"request_id":"r-9"}`, code, message)
}

func TestEveryErrorHasItsKind(t *testing.T) {
	t.Parallel()
	for _, row := range errorRows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			body := []byte(row.body)
			if row.file != "" {
				body = golden(t, row.file)
			}
			reply, err := ask(t, video, row.status, nil, body)
			if err == nil {
				t.Fatalf("want an error, got %+v", reply)
			}
			got := kindOf(t, err)
			if got.Kind != row.want || got.HTTPStatus != row.status {
				t.Errorf("%s (HTTP %d): %v; want %s", got.Kind, got.HTTPStatus, err, row.want)
			}
			if strings.ContainsAny(err.Error(), "\n\r") || len(err.Error()) > 2000 {
				t.Errorf("not one short line: %q", err)
			}
			if bytes.Contains(body, []byte(`"r-9"`)) && got.RequestID != "r-9" {
				t.Errorf("request id %q", got.RequestID)
			}
		})
	}
}

func TestRetryAfterIsReadAndBounded(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"":                              0,
		"7":                             7 * time.Second,
		"0.5":                           500 * time.Millisecond,
		"-3":                            0,
		"NaN":                           0,
		"Inf":                           klingapi.MaxRetryAfter,
		"99999999999999999999":          klingapi.MaxRetryAfter,
		"soon":                          0,
		"Mon, 01 Jan 2001 00:00:00 GMT": 0,
		"Fri, 31 Dec 2100 00:00:00 GMT": klingapi.MaxRetryAfter,
	} {
		_, err := ask(t, video, 429, http.Header{"Retry-After": {value}}, []byte(coded(1302, "too fast")))
		if got := kindOf(t, err).RetryAfter; got != want {
			t.Errorf("Retry-After %q: %s, want %s", value, got, want)
		}
	}
}

func TestARequestIDOfTheGatewayIsUsedWhenTheBodyHasNone(t *testing.T) {
	t.Parallel()
	_, err := ask(t, video, 500, http.Header{"X-Oneapi-Request-Id": {"gw-1"}}, []byte(`{"error":{"message":"boom"}}`))
	if got := kindOf(t, err).RequestID; got != "gw-1" {
		t.Errorf("request id %q", got)
	}
}
