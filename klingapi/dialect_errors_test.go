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

var notFoundDialects = dialectsOf("not found")

// otherErrorDialects look like the same and are not.
var otherErrorDialects = dialectsOf("other errors")

func TestNotFoundInEverySpelling(t *testing.T) {
	t.Parallel()
	runAll(t, notFoundDialects)
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
	zip, _ = gzip.NewWriterLevel(&bomb, gzip.BestSpeed) // it is a level
	for range klingapi.MaxBody/(1<<20) + 1 {
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
