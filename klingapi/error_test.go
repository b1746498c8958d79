package klingapi_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

// errorRow is a row of the error table, or another answer that says nothing
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
		"1e400":                         klingapi.MaxRetryAfter, // beyond a float64
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

// A relay cannot steer a terminal, nor hide something in a log, by its texts.
func TestTextsOfTheRelayAreSafeLines(t *testing.T) {
	t.Parallel()
	const hostile, safe = `a\u202eb\u200b\u2028c\u001b[2J\u2066`, "ab c [2J"
	reply, err := ask(t, video, 200, nil, []byte(`{"code":0,"request_id":"`+hostile+`","data":{"task_id":"t","task_status":"failed","task_status_msg":"`+hostile+`"}}`))
	if err != nil || reply.Record.Message != safe || reply.RequestID != safe {
		t.Errorf("a reason: %+q, request id %+q, %v", reply.Record.Message, reply.RequestID, err)
	}
	reply, err = ask(t, video, 200, nil, []byte(`{"code":0,"data":{"task_id":"t","task_status":"`+hostile+`"}}`))
	if err != nil || reply.Record.Word != safe || reply.Record.Status != "" {
		t.Errorf("a status word: %+q, %v", reply.Record.Word, err)
	}
	_, err = ask(t, video, 500, nil, []byte(`{"code":"`+hostile+`","message":"`+hostile+`"}`))
	if got := kindOf(t, err); got.Message != safe || got.Code != safe {
		t.Errorf("an error: %+q, code %+q", got.Message, got.Code)
	}
	_, err = ask(t, video, 200, nil, []byte(`{"code":0,"message":"`+strings.Repeat("长", 2000)+`"}`))
	if got := kindOf(t, err); got.Message != strings.Repeat("长", 1000)+"..." {
		t.Errorf("a long message has %d bytes", len(got.Message))
	}
}

// net/http repeats a header line that it cannot read in its error.
func TestABrokenHeaderIsReportedAsOneShortLine(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nno\x1bcolon" + strings.Repeat("x", 9000) + "\r\n\r\n"))
	}()
	_, err = newClient(t, klingapi.Config{BaseURL: "http://" + listener.Addr().String()}).GetTask(t.Context(), video)
	got := kindOf(t, err)
	if got.Kind != klingapi.Unreachable || !strings.Contains(got.Message, "colonx") || strings.ContainsAny(got.Message, "\x1b") || len(got.Message) > 1100 {
		t.Errorf("%q", err)
	}
}

// The relay's operator finds the request by the id of the relay's own header.
func TestTheRequestIDIsTheRelaysOwn(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"error":{"message":"boom"}}`, `{"request_id":"inner","error":{"message":"boom"}}`} {
		_, err := ask(t, video, 500, http.Header{"X-Oneapi-Request-Id": {"gw-1"}, "X-Request-Id": {"proxy-1"}}, []byte(body))
		if got := kindOf(t, err).RequestID; got != "gw-1" {
			t.Errorf("request id %q of %s", got, body)
		}
	}
}
