package klingapi_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

var notFoundDialects = []dialect{
	{status: 400, body: `{"code":1201,"message":"Task not found by id/external id: ID"}`},
	{status: 404, body: `{"code":1203,"message":"resource does not exist"}`},
	{status: 400, body: `{"code":"task_not_exist","message":"task_not_exist","data":null}`},
	{status: 404, body: `{"code":"task_not_found","message":"task not found"}`},
	{status: 404, body: `{"error":{"message":"Task not found","type":"invalid_request_error","code":"task_not_found"}}`},
	{status: 404, body: `{"error":{"message":"No such task: ID","type":"invalid_request_error","code":null}}`},
	{status: 404, body: `{"error":"Task not found"}`},
	{status: 404, body: `{"detail":"Task ID does not exist"}`},
	{status: 404, body: `{"detail":{"code":"job_not_found","message":"unknown"}}`},
	{status: 200, body: `{"code":404,"msg":"not found","data":null}`},
	{status: 200, body: `{"code":404,"msg":"任务不存在"}`},
	{status: 500, body: `{"code":"500","message":"任务ID不存在或已过期"}`},
	{status: 400, body: `{"code":400,"message":"record not found"}`},
	{status: 200, body: `{"code":0,"message":"SUCCEED","data":[]}`},
	{status: 200, body: `{"code":"success","message":"","data":null}`},
	{status: 410, body: `{"message":"task expired and was removed"}`},
	{status: 410, body: `gone`},
	{status: 404, body: `task not found`},

	{status: 404, body: `{"statusCode":404,"message":"Task with id ID not found","error":"Not Found"}`},
	{status: 404, body: `{"message":"No query results for model [App\\Models\\Task] ID"}`},
	{status: 404, body: `{"type":"about:blank","title":"Not Found","status":404,"detail":"Task ID not found","instance":"/x"}`},
	{status: 404, body: `{"errors":[{"status":"404","title":"Not Found","detail":"Task ID was not found"}]}`},
	{status: 200, body: `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"task not found"}}`},
	{status: 200, body: `{"Response":{"Error":{"Code":"FailedOperation.JobNotExist","Message":"任务不存在。"},"RequestId":"r"}}`},
	{status: 200, body: `{"code":10000,"message":"Success","data":{"status":"not_found"}}`},
	{status: 200, body: `{"id":"ID","status":"NOT_FOUND"}`},
	{status: 200, body: `{"status":404,"message":"Task not found","data":null}`},
	{status: 200, body: `{"success":false,"message":"task does not exist"}`},
	{status: 200, body: `{"code":0,"message":"ok","data":{"list":[],"total":0}}`},
	{status: 200, body: `{"code":"success","message":"","data":""}`},
	{status: 200, body: `{"errors":[{"message":"Task not found"}],"data":null}`},
	{status: 404, body: `{"error":{"code":404,"message":"Requested entity was not found.","status":"NOT_FOUND"}}`},
	{status: 404, body: `{"error":{"type":"not_found_error","message":"Video with id 'ID' not found."}}`},
	{status: 404, body: `{"error":"NotFound","message":"Couldn't find Task with 'id'=ID"}`},
	{status: 404, body: `{"message":"该任务已被删除或不存在"}`},
	{status: 404, body: `{"message":"タスクが見つかりません"}`},
	{status: 404, body: `{"message":"작업을 찾을 수 없습니다"}`},
	{status: 404, body: `{"message":"Задача не найдена"}`},
	{status: 404, body: `{"message":"La tarea no existe"}`},
	{status: 400, body: `{"code":400,"data":"task not exist","msg":""}`},
	{status: 403, body: `{"error":{"code":"","message":"该令牌无权访问模型  (request id: x)","type":"new_api_error"}}`},
	{name: "a message that is a body", status: 500, body: `{"code":500,"message":"{\"code\":1201,\"message\":\"Task not found by id/external id: ID\"}"}`},
	{status: 200, body: `{"code":0,"message":"task not found","data":null}`},
	{status: 200, body: `{"code":0,"msg":"任务不存在","data":{}}`},
	{status: 400, body: `task_not_exist`},
}

// otherErrorDialects look like the same and are not.
var otherErrorDialects = []dialect{
	{status: 404, body: `<html><body>404 Not Found</body></html>`, want: "error misconfigured"},
	{status: 404, body: `{"detail":"Not Found"}`, want: "error misconfigured"},
	{status: 404, body: `{"message":"no Route matched with those values"}`, want: "error misconfigured"},
	{status: 404, body: `404 page not found`, want: "error misconfigured"},
	{status: 503, body: `{"error":{"message":"No available channel for model kling-video","type":"new_api_error","code":"model_not_found"}}`, want: "error unavailable"},
	{status: 400, body: `{"error":{"message":"The model kling-v9 does not exist","code":"model_not_found"}}`, want: "error rejected"},
	{status: 401, body: `{"error":{"message":"user not found"}}`, want: "error refused"},
	{status: 200, body: `{"code":0,"message":"SUCCEED","data":{}}`, want: "error unreadable"},

	{status: 403, body: `{"error":{"code":"","message":"该令牌无权访问模型 kling-v1 (request id: x)","type":"new_api_error"}}`, want: "error refused"},
	{status: 200, body: `{"code":1,"msg":"system busy","data":null}`, want: "error unreadable"},
	{status: 200, body: `{"code":"fail_to_fetch_task","message":"fail_to_fetch_task","data":null}`, want: "error unreadable"},
	{status: 200, body: `{"code":0,"message":"system busy, try again","data":null}`, want: "error unreadable"},
	{status: 200, body: `{"error":{"message":"upstream timeout"},"data":null}`, want: "error unreadable"},
	{status: 200, body: `{"errors":[{"message":"Internal server error"}],"data":null}`, want: "error unreadable"},
	{status: 200, body: `{"success":false,"data":null}`, want: "error unreadable"},
	{status: 200, body: `{"status":"error","data":null}`, want: "error unreadable"},
	{status: 200, body: `{"error":true,"data":null}`, want: "error unreadable"},
	{status: 200, body: `{"code":404,"message":"model kling-v9 not found"}`, want: "error rejected"},
	{status: 404, body: `{"message":"The model for this task does not exist"}`, want: "error rejected"},
	{status: 400, body: `{"message":"task creator: user 12 not found"}`, want: "error rejected"},
	{status: 400, body: `{"message":"Task failed: input image not found"}`, want: "error rejected"},
	{status: 400, body: `{"code":1201,"message":"image not found"}`, want: "error rejected"},
	{status: 400, body: `{"code":1201,"message":"voice id not found"}`, want: "error rejected"},
	{status: 503, body: `{"error":{"message":"no channel for this task: channel not found"}}`, want: "error unavailable"},
	{status: 401, body: `{"error":"record not found"}`, want: "error refused"},
	{status: 404, body: `{"message":"Route GET:/kling/v1/videos/any/ID not found","error":"Not Found","statusCode":404}`, want: "error misconfigured"},
	{status: 404, body: `{"message":"The route kling/v1/videos/any/ID could not be found."}`, want: "error misconfigured"},
	{status: 404, body: `{"timestamp":"2026-01-01T00:00:00Z","status":404,"error":"Not Found","message":"No message available","path":"/kling/v1/videos/any/ID"}`, want: "error misconfigured"},
	{status: 404, body: `{"type":"about:blank","title":"Not Found","status":404,"detail":"No static resource kling/v1/videos/any/ID.","instance":"/x"}`, want: "error misconfigured"},
	{status: 404, body: `{"error_msg":"404 Route Not Found"}`, want: "error misconfigured"},
	{status: 404, body: `{"message":"Cannot GET /kling/v1/videos/any/ID","error":"Not Found","statusCode":404}`, want: "error misconfigured"},
	{status: 403, body: `{"message":"Missing Authentication Token"}`, want: "error misconfigured"},
	{status: 403, body: `error code: 1020`, want: "error unavailable"},
	{status: 522, body: `error code: 522`, want: "error unavailable"},
	{status: 403, body: `{"title":"Error 1020: Access denied","status":403,"cloudflare_error":true,"retryable":false}`, want: "error unavailable"},
	{status: 422, body: `{"detail":[{"loc":["path","task_id"],"msg":"value is not a valid uuid","type":"type_error.uuid"}]}`, want: "error rejected"},
	{status: 200, body: `{"Response":{"Error":{"Code":"RequestLimitExceeded","Message":"too many"},"RequestId":"r"}}`, want: "error throttled"},
	{status: 200, body: `{"Response":{"Error":{"Code":"AuthFailure.SignatureFailure","Message":"no"},"RequestId":"r"}}`, want: "error refused"},
	{status: 200, body: `{"statusCode":429,"message":"Too Many Requests"}`, want: "error throttled"},
	{status: 200, body: `{"status":503,"error":"Service Unavailable"}`, want: "error unavailable"},
	{status: 200, body: `{"errno":401,"errmsg":"unauthorized"}`, want: "error refused"},
	{status: 200, body: `{"data":{"code":429,"message":"slow down"}}`, want: "error throttled"},
	{status: 400, body: `{"detail":"Request is still in progress"}`, want: "error rejected"},
	{name: "a throttle beside a code of a type", status: 429, body: `{"code":1302,"message":"slow","error":{"type":"x","code":"0","message":""}}`, want: "error throttled"},
	{status: 200, body: `{"code":202,"message":"Task is still processing","data":null}`, want: "error unreadable"},
	{status: 401, body: `task not found`, want: "error refused"},
}

func TestNotFoundInEverySpelling(t *testing.T) {
	t.Parallel()
	for _, d := range notFoundDialects {
		d.want = "error not_found"
		d.run(t)
	}
	runAll(t, otherErrorDialects)
}

func TestCodesInsideHTTP200(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"401": "refused", "402": "refused", "403": "refused", "429": "throttled", "500": "unavailable", "502": "unavailable", "504": "unavailable", "422": "rejected",
		"1302": "throttled", "5000": "unavailable", "1102": "refused",
	} {
		for _, body := range []string{`{"code":%s,"msg":"no","data":null}`, `{"code":"%s","message":"no"}`} {
			if got := verdictOf(t, "videos", 200, nil, fmt.Sprintf(body, code)); got != "error "+want {
				t.Errorf("code %s under HTTP 200: %s, want %s", code, got, want)
			}
		}
	}
}

func TestAnAnswerThatWasCompressedUnasked(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	_, _ = zip.Write([]byte(`{"code":0,"data":{"task_id":"ID","task_status":"processing"}}`))
	_ = zip.Close()
	for _, header := range []http.Header{{"Content-Encoding": {"gzip"}}, nil} {
		if got := verdictOf(t, "videos", 200, header, b.String()); got != "processing" {
			t.Errorf("%v: %s", header, got)
		}
	}
	var bomb bytes.Buffer
	zip = gzip.NewWriter(&bomb)
	for range 3 * klingapi.MaxBody / (1 << 20) {
		_, _ = zip.Write(make([]byte, 1<<20))
	}
	_ = zip.Close()
	if got := verdictOf(t, "videos", 200, nil, bomb.String()); got != "error unreadable" {
		t.Errorf("a gzip bomb: %s", got)
	}
}

// A router may want the path with a slash, or without; the key must not go further.
func TestARedirectIsFollowedToTheSamePathOnly(t *testing.T) {
	t.Parallel()
	stolen := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.Header.Get("Authorization") }))
	defer other.Close()
	for name, c := range map[string]struct {
		to   func(path string) string
		want bool
	}{
		"a slash more":       {func(path string) string { return path + "/" }, true},
		"for ever":           {func(path string) string { return strings.TrimRight(path, "/") + "/" }, true},
		"another path":       {func(string) string { return "/login" }, false},
		"another host":       {func(path string) string { return other.URL + path }, false},
		"another host, also": {func(path string) string { return "//" + strings.TrimPrefix(other.URL, "http://") + path + "/" }, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "ID/") && r.Header.Get("Authorization") == "Bearer sk-test" {
				_, _ = w.Write([]byte(`{"code":0,"data":{"task_id":"ID","task_status":"processing"}}`))
				return
			}
			http.Redirect(w, r, c.to(r.URL.Path), http.StatusMovedPermanently)
		}))
		client, err := klingapi.New(klingapi.Config{BaseURL: server.URL, Credential: klingapi.StaticKey("sk-test")})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.GetTask(t.Context(), klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: "ID"})
		if (err == nil) != c.want {
			t.Errorf("%s: %v", name, err)
		}
		client.Close()
		server.Close()
	}
	select {
	case key := <-stolen:
		t.Errorf("another host got %q", key)
	default:
	}
}

func TestAURLSaysWhenItExpires(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1796126400}`)) + ".sig"
	policy := strings.NewReplacer("+", "-", "=", "_", "/", "~").Replace(base64.StdEncoding.EncodeToString(
		[]byte(`{"Statement":[{"Condition":{"DateLessThan":{"AWS:EpochTime":1796126400}}}]}`)))
	for query, want := range map[string]time.Time{
		"Expires=1796126400":                                                            at,
		"expires=1796126400000":                                                         at,
		"x=1&ksTime=1796126400":                                                         at,
		"e=1796126400&token=a":                                                          at,
		"auth_expires=1796126400":                                                       at,
		"se=2026-12-01T12%3A00%3A00Z&sp=r":                                              at,
		"X-Amz-Date=20261201T110000Z&X-Amz-Expires=3600":                                at,
		"X-Goog-Date=20261201T110000Z&X-Goog-Expires=3600":                              at,
		"x-tos-date=20261201T110000Z&x-tos-expires=3600":                                at,
		"x-oss-date=20261201T110000Z&x-oss-expires=3600":                                at,
		"hdnts=st=1796122800~exp=1796126400~acl=/*~hmac=ab":                             at, // Akamai
		"_jwt=" + token:                                                                 at, // Runway, Supabase
		"Policy=" + policy + "&Signature=x&Key-Pair-Id=k":                               at, // CloudFront
		"authorization=bce-auth-v1%2Fak%2F2026-12-01T11%3A00%3A00Z%2F3600%2Fhost%2Fsig": at, // Baidu
		"se=2026-12-01T12%3A00Z&sp=r":                                                   at,
		"validUntil=1796126400":                                                         at,
		"_jwt=a.b.c":                                                                    {},
		"token=1796126400":                                                              {},
		"q-sign-time=1796122800;1796126400":                                             at,
		"Expires=1796126400&X-Amz-Date=20261201T110000Z&X-Amz-Expires=60":               at.Add(-59 * time.Minute), // the earliest
		"Expires=never":                                                                 {},
		"Expires=5":                                                                     {},
		"X-Amz-Expires=3600":                                                            {},
		"expires=99999999999999":                                                        {},
		"":                                                                              {},
	} {
		body := fmt.Sprintf(`{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"videos":[{"url":%q}]}}}`, "https://cdn.example/o.mp4?"+query)
		reply, err := ask(t, klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: "ID"}, 200, nil, []byte(body))
		if err != nil || len(reply.Record.Outputs) != 1 {
			t.Fatalf("%s: %+v, %v", query, reply, err)
		}
		if got := reply.Record.Outputs[0].ExpiresAt; !got.Equal(want) {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}
