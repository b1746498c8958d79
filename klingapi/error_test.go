package klingapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

// errorRow is a row of the error table, or another answer that tells nothing
// about the task.
type errorRow struct {
	Name   string             `json:"name"`
	Status int                `json:"status"`
	File   string             `json:"file"` // in testdata, or
	Body   string             `json:"body"`
	Kind   klingapi.ErrorKind `json:"kind"`
}

// readErrorRows reads testdata/errors.json; the operator's table of replies is
// made from the same rows.
func readErrorRows(t *testing.T) []errorRow {
	t.Helper()
	var rows []errorRow
	if err := json.Unmarshal(golden(t, "errors.json"), &rows); err != nil {
		t.Fatal(err)
	}
	return append(rows,
		errorRow{Name: "too deep", Status: 200, Body: strings.Repeat("[", 5000) + strings.Repeat("]", 5000), Kind: klingapi.Unreadable},
		errorRow{Name: "too large", Status: 200, Body: `{"x":"` + strings.Repeat("y", klingapi.MaxBody) + `"}`, Kind: klingapi.Unreadable},
	)
}

func coded(code int, message string) string {
	return fmt.Sprintf(`{"code":%d,"message":%q,"request_id":"r-9"}`, code, message)
}

func TestEveryErrorHasItsKind(t *testing.T) {
	t.Parallel()
	for _, row := range readErrorRows(t) {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			body := []byte(row.Body)
			if row.File != "" {
				body = golden(t, row.File)
			}
			reply, err := ask(t, video, row.Status, nil, body)
			if err == nil {
				t.Fatalf("want an error, got %+v", reply)
			}
			got := kindOf(t, err)
			if got.Kind != row.Kind || got.HTTPStatus != row.Status {
				t.Errorf("%s (HTTP %d): %v; want %s", got.Kind, got.HTTPStatus, err, row.Kind)
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
