package klingapi_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

// verdictOf says in a line what the client understood of an answer to the question
// for task "ID": the status and its marks, the files by kind, the result, the message.
func verdictOf(t *testing.T, action string, status int, header http.Header, body string) string {
	t.Helper()
	reply, err := ask(t, klingapi.Ref{Action: action, Action2: "any", TaskID: "ID"}, status, header, []byte(body))
	if apiErr, ok := errors.AsType[*klingapi.Error](err); ok {
		return "error " + string(apiErr.Kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := reply.Record
	text := string(r.Status)
	for _, mark := range []struct {
		set  bool
		name string
	}{{r.Bare, "bare"}, {r.Unsure, "unsure"}, {r.ByRelay, "by relay"}, {r.Incomplete, "incomplete"}, {r.TooLarge > 0, "too large"}} {
		if mark.set {
			text = strings.TrimSpace(text + " " + mark.name)
		}
	}
	for _, o := range r.Outputs {
		url := strings.TrimPrefix(o.URL, "https://cdn.example/")
		if o.NeedsKey {
			url = "key:" + url
		}
		text += fmt.Sprintf(" %s[%d]=%s", o.Kind, o.Position, url)
		if o.DurationSeconds != "" {
			text += "/" + o.DurationSeconds
		}
	}
	if r.Result != nil {
		text += " result=" + string(r.Result)
	}
	if r.Message != "" {
		text += ": " + r.Message
	}
	return text
}

// dialect is an answer and what it means; action is videos, status 200 unless given.
type dialect struct {
	name, action string
	status       int
	body, want   string
}

func (d dialect) run(t *testing.T) {
	t.Helper()
	action, status := d.action, d.status
	if action == "" {
		action = "videos"
	}
	if status == 0 {
		status = http.StatusOK
	}
	if got := verdictOf(t, action, status, nil, d.body); got != d.want {
		t.Errorf("%s\n got %s\nwant %s\n%s", d.name, got, d.want, d.body)
	}
}

func TestRecordsAreFound(t *testing.T) {
	t.Parallel()
	for _, d := range []dialect{
		{name: "v3, a list of one", body: `{"code":0,"message":"SUCCEED","data":[{"id":"ID","status":"succeeded","message":"","outputs":[{"type":"video","id":"v1","url":"https://cdn.example/o.mp4","duration":"5.041"},{"type":"audio","id":"a1","mp3_url":"https://cdn.example/a.mp3","wav_url":"https://cdn.example/a.wav"}],"billing":[]}]}`,
			want: "succeeded video[0]=o.mp4/5.041 audio[0]=a.mp3 audio[1]=a.wav"},
		{name: "v3, an object", body: `{"code":0,"data":{"id":"ID","status":"succeeded","message":"","outputs":[{"type":"video","url":"https://cdn.example/o.mp4"}]}}`, want: "succeeded video[0]=o.mp4"},
		{name: "v3, two files and one of them twice", action: "images", body: `{"code":0,"data":[{"id":"ID","task_id":"ID","status":"succeeded","url":"https://cdn.example/0.png","outputs":[{"type":"image","url":"https://cdn.example/0.png"},{"type":"image","url":"https://cdn.example/1.png"}]}]}`,
			want: "succeeded image[0]=0.png image[1]=1.png"},
		{name: "asked by the caller's own id", body: `{"code":0,"data":[{"id":"other","status":"processing"},{"id":"8","external_id":"ID","status":"failed","message":"flagged"}]}`, want: "failed: flagged"},
		{name: "the caller's own id in task_info", body: `{"code":0,"data":[{"task_id":"8","task_info":{"external_task_id":"ID"},"task_status":"processing"},{"task_id":"9","task_status":"failed"}]}`, want: "processing"},
		{name: "a lone record with another id", body: `{"code":0,"data":[{"id":"8","status":"succeeded","outputs":[{"type":"video","url":"https://cdn.example/o.mp4"}]}]}`, want: "succeeded video[0]=o.mp4"},
		{name: "a page of a listing is no answer", body: `{"code":0,"total":57,"data":[{"id":"8","status":"succeeded","outputs":[{"type":"video","url":"https://cdn.example/o.mp4"}]}]}`, want: "error unreadable"},
		{name: "two records of others", body: `{"code":0,"data":[{"id":"8","status":"failed","progress":1},{"id":"9","status":"failed","progress":1}]}`, want: "error unreadable"},
		{name: "data is JSON in a string", body: `{"code":0,"data":"{\"task_id\":\"ID\",\"task_status\":\"succeed\",\"task_result\":{\"videos\":[{\"url\":\"https://cdn.example/o.mp4\"}]}}"}`, want: "succeeded video[0]=o.mp4"},
		{name: "data is a list in a string", body: `{"code":0,"data":"[{\"task_id\":\"ID\",\"task_status\":\"processing\"}]"}`, want: "processing"},
		{name: "camel case, state and a result in a string", body: `{"code":200,"msg":"success","data":{"taskId":"ID","state":"success","resultJson":"{\"resultUrls\":[\"https://cdn.example/o.mp4\"]}","failMsg":null}}`, want: "succeeded video[0]=o.mp4"},
		{name: "camel case, still running", body: `{"code":200,"data":{"taskId":"ID","state":"generating","progress":30}}`, want: "processing"},
	} {
		d.run(t)
	}
}

func TestFilesAreFoundWhereverTheyStand(t *testing.T) {
	t.Parallel()
	const in = `"status":"success","task_id":"ID","progress":"100%"`
	for _, d := range []dialect{
		{name: "video_result", body: `{"task_id":"ID","task_status":"success","video_result":[{"url":"https://cdn.example/o.mp4","cover_image_url":"https://cdn.example/c.png"}]}`, want: "succeeded video[0]=o.mp4"},
		{name: "image_result as an object", action: "images", body: `{"task_id":"ID","task_status":"success","image_result":{"url":"https://cdn.example/o"}}`, want: "succeeded image[0]=o"},
		{name: "audio_result as a string", body: `{"task_id":"ID","task_status":"done","audio_result":"https://cdn.example/a"}`, want: "succeeded audio[0]=a"},
		{name: "output.video", body: `{"code":200,"data":{"task_id":"ID","status":"completed","input":{"image_url":"https://cdn.example/in.png"},"output":{"type":"x","video":"https://cdn.example/o.mp4"},"error":{"code":0,"message":""}}}`, want: "succeeded video[0]=o.mp4"},
		{name: "output.works, the file without watermark first", body: `{"data":{"task_id":"ID","status":"completed","output":{"works":[{"contentType":"video","video":{"resource":"https://cdn.example/w.mp4","resource_without_watermark":"https://cdn.example/o.mp4","duration":5}}]}}}`, want: "succeeded video[0]=o.mp4/5 video[1]=w.mp4/5"},
		{name: "output as a string", body: `{"id":"ID","status":"succeeded","output":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
		{name: "output as a list", action: "images", body: `{"id":"ID","status":"succeeded","output":["https://cdn.example/0.webp","https://cdn.example/1.webp"]}`, want: "succeeded image[0]=0.webp image[1]=1.webp"},
		{name: "results as strings", body: `{` + in + `,"results":["https://cdn.example/0.mp4","https://cdn.example/1.mp4"]}`, want: "succeeded video[0]=0.mp4 video[1]=1.mp4"},
		{name: "result as an object with lists", body: `{` + in + `,"result":{"videos":[{"url":["https://cdn.example/0.mp4"]}],"images":[{"url":"https://cdn.example/0"}]}}`, want: "succeeded image[0]=0 video[0]=0.mp4"},
		{name: "metadata.url", body: `{"id":"ID","object":"video","status":"completed","progress":100,"metadata":{"url":"https://cdn.example/o"}}`, want: "succeeded video[0]=o"},
		{name: "clips with their own URLs", body: `{` + in + `,"clips":[{"id":"1","video_url":"https://cdn.example/0.mp4","duration":"5s"},{"id":"2","video_url":"https://cdn.example/1.mp4","duration":5.5}]}`, want: "succeeded video[0]=0.mp4/5 video[1]=1.mp4/5.5"},
		{name: "task_result in the singular", body: `{"task_id":"ID","task_status":"succeed","task_result":{"video":{"url":"https://cdn.example/o.mp4","duration":"5"}}}`, want: "succeeded video[0]=o.mp4/5"},
		{name: "urls", body: `{` + in + `,"urls":["https://cdn.example/0","https://cdn.example/1"]}`, want: "succeeded video[0]=0 video[1]=1"},
		{name: "audio_url beside video_url", body: `{` + in + `,"audio_url":"https://cdn.example/a","video_url":"https://cdn.example/v"}`, want: "succeeded video[0]=v audio[0]=a"},
		{name: "grouped outputs", body: `{"id":"ID","status":"succeeded","outputs":[{"type":"group","items":[{"type":"image","url":"https://cdn.example/0"},{"type":"image","url":"https://cdn.example/1"}]}]}`, want: "succeeded image[0]=0 image[1]=1"},
		{name: "fal: video as an object", body: `{"status":"COMPLETED","request_id":"ID","id":"ID","video":{"url":"https://cdn.example/o.mp4","content_type":"video/mp4","file_name":"o.mp4"}}`, want: "succeeded video[0]=o.mp4"},
		{name: "a field of the relay's own, with an extension", body: `{` + in + `,"final_cut":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
		{name: "a number is a duration", body: `{` + in + `,"video_url":"https://cdn.example/o.mp4","duration":5}`, want: "succeeded video[0]=o.mp4/5"},

		{name: "the request's image is no file", body: `{` + in + `,"image_url":"https://cdn.example/in.png","video_url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
		{name: "input, params and prompt are no files", body: `{` + in + `,"params":{"image":"https://cdn.example/1.png"},"input":{"video_url":"https://cdn.example/2.mp4"},"prompt":"https://cdn.example/3.png","output":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
		{name: "frames and tails are no files", body: `{` + in + `,"first_frame":"https://cdn.example/1.png","image_tail":"https://cdn.example/2.png","last_frame_url":"https://cdn.example/3.png","result":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
		{name: "covers and callbacks are no files", body: `{` + in + `,"cover":"https://cdn.example/1.png","callback_url":"https://app.example/x.mp4","thumbnail_url":"https://cdn.example/2.jpg","url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
		{name: "a list of references is no file", body: `{` + in + `,"image_list":[{"image":"https://cdn.example/1.png"}],"reference_images":["https://cdn.example/2.png"],"url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},

		{name: "one of two is still empty", action: "images", body: `{"task_id":"ID","task_status":"succeed","task_result":{"images":[{"index":0,"url":"https://cdn.example/0.png"},{"index":1,"url":""}]}}`, want: "succeeded incomplete image[0]=0.png"},
		{name: "still null", body: `{"task_id":"ID","task_status":"succeed","task_result":{"videos":[{"id":"v","url":null}]}}`, want: "succeeded incomplete"},
		{name: "a file in the answer", action: "images", body: `{` + in + `,"image":"data:image/png;base64,iVBORw0KGgo="}`, want: "succeeded image[0]=data:image/png;base64,iVBORw0KGgo="},
		{name: "a file that is too large for that", action: "images", body: `{` + in + `,"image":"data:image/png;base64,` + strings.Repeat("A", klingapi.MaxInline) + `"}`, want: "succeeded too large"},
	} {
		d.run(t)
	}
}

func TestResultsThatAreNoFiles(t *testing.T) {
	t.Parallel()
	for _, d := range []dialect{
		{name: "an element", action: "general", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"elements":[{"element_id":829,"element_name":"cat"}]}}}`, want: `succeeded result={"elements":[{"element_id":829,"element_name":"cat"}]}`},
		{name: "a voice, whose trial is no output", action: "general", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"voices":[{"voice_id":"v-1","trial_url":"https://cdn.example/t.mp3"}]}}}`, want: `succeeded result={"voices":[{"trial_url":"https://cdn.example/t.mp3","voice_id":"v-1"}]}`},
		{name: "faces", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"session_id":"s","face_data":[{"face_id":"0","start_time":0}]}}}`, want: `succeeded result={"face_data":[{"face_id":"0","start_time":0}],"session_id":"s"}`},
		{name: "a text", body: `{"id":"ID","status":"succeeded","output":{"text":"a cat on a mat"}}`, want: `succeeded result={"text":"a cat on a mat"}`},
		{name: "nothing is no result", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"videos":[]}}}`, want: `succeeded`},
	} {
		d.run(t)
	}
}

func TestContradictions(t *testing.T) {
	t.Parallel()
	for _, d := range []dialect{
		{name: "a success with an error and no file", body: `{"code":"success","data":{"task_id":"ID","status":"completed","progress":100,"url":"","error":{"code":"generation_failed","message":"flagged"}}}`, want: "failed: flagged"},
		{name: "a success with a reason of failure", body: `{"task_id":"ID","task_status":"succeed","fail_reason":"policy","task_result":{}}`, want: "failed: policy"},
		{name: "a success around a failure", body: `{"code":"success","data":{"task_id":"ID","status":"SUCCESS","progress":"100%","data":{"code":0,"data":{"task_id":"8","task_status":"failed","task_status_msg":"Image pixel is invalid"}}}}`, want: "failed: Image pixel is invalid"},
		{name: "with a file it is a success, and the text is kept", body: `{"task_id":"ID","status":"completed","progress":100,"url":"https://cdn.example/o.mp4","error":"audio was muted"}`, want: "succeeded video[0]=o.mp4: audio was muted"},
		{name: "what the provider says of a success stays", body: `{"code":0,"message":"SUCCEED","data":{"task_id":"ID","task_status":"succeed","message":"the file was moderated","task_result":{}}}`, want: "succeeded: the file was moderated"},
		{name: "a bare word may be about the request", body: `{"status":"success","task_id":"ID"}`, want: "bare"},
		{name: "a bare word with a message", body: `{"status":"completed","task_id":"ID","message":"see dashboard"}`, want: "bare: see dashboard"},

		{name: "a strong failure ends it, whatever the reason", body: `{"code":0,"data":{"task_id":"ID","task_status":"failed","task_status_msg":"Service busy, retry later"}}`, want: "failed: Service busy, retry later"},
		{name: "also under HTTP 500", status: 500, body: `{"code":5000,"data":{"task_id":"ID","task_status":"failed","task_status_msg":"flagged"}}`, want: "failed: flagged"},
		{name: "a failure beside a throttle, without a reason", status: 429, body: `{"code":1302,"message":"rate too high","data":{"task_status":"failed","task_status_msg":""}}`, want: "failed unsure: rate too high"},
		{name: "a failure beside an outage, without a reason", status: 503, body: `{"code":5001,"message":"maintenance","data":{"task_id":"ID","task_status":"failed"}}`, want: "failed unsure: maintenance"},
		{name: "the weak word under HTTP 200", body: `{"status":"error","task_id":"ID","error":"rate limit, retry later"}`, want: "failed unsure: rate limit, retry later"},
		{name: "an error of the request under HTTP 502", status: 502, body: `{"status":"error","task_id":"ID","error":"bad gateway"}`, want: "error unavailable"},

		{name: "the gateway gave up", body: `{"task_id":"ID","status":"timeout","progress":60}`, want: "stopped by relay"},
		{name: "the gateway let it expire", body: `{"id":"ID","status":"expired","error":{"message":"no result after 24 h"}}`, want: "stopped by relay: no result after 24 h"},
		{name: "timed out, in two words", body: `{"id":"ID","status":"Timed Out"}`, want: "stopped by relay"},

		{name: "the reason is not the message of the envelope", body: `{"task_id":"ID","status":"FAILURE","progress":"1%","err_reason":"bad image","message":"kling generate"}`, want: "failed: bad image"},
		{name: "the reason is the envelope's in the last resort", body: `{"code":0,"message":"quota of the model is used up","data":{"task_id":"ID","task_status":"failed"}}`, want: "failed: quota of the model is used up"},
		{name: "the reason is a URL", body: `{"task_id":"ID","status":"FAILURE","fail_reason":"https://docs.example/policy"}`, want: "failed: https://docs.example/policy"},
		{name: "the reason stands in url", body: `{"task_id":"ID","status":"failed","url":"blocked by safety filters","progress":100}`, want: "failed: blocked by safety filters"},
		{name: "failMsg", body: `{"code":200,"msg":"success","data":{"taskId":"ID","state":"fail","failMsg":"nsfw"}}`, want: "failed: nsfw"},
	} {
		d.run(t)
	}
}

func TestInFrontOfNewAPI(t *testing.T) {
	t.Parallel()
	wrap := func(outer, inner string) string {
		return `{"code":"success","message":"","data":{"id":1,"task_id":"ID",` + outer + `,"data":{"code":0,"message":"SUCCEED","data":{"task_id":"800","task_status":` + inner + `}}}}`
	}
	const file = `"succeed","task_result":{"videos":[{"id":"v1","url":"https://cdn.example/o.mp4","duration":"5"}]}`
	for _, d := range []dialect{
		{name: "created", body: wrap(`"status":"NOT_START","fail_reason":"","progress":"0%"`, `"submitted"`), want: "submitted"},
		{name: "its link over a true URL", body: wrap(`"status":"SUCCESS","result_url":"http://localhost:3000/v1/videos/ID/content"`, file), want: "succeeded video[0]=o.mp4/5"},
		{name: "its link under a public name", body: wrap(`"status":"SUCCESS","result_url":"https://relay.example/v1/videos/ID/content"`, file), want: "succeeded video[0]=o.mp4/5"},
		{name: "its link and a file to come", body: wrap(`"status":"SUCCESS","result_url":"http://localhost:3000/v1/videos/ID/content"`, `"succeed","task_result":{"videos":[{"id":"v","url":""}]}`), want: "succeeded incomplete video[0]=key:http://localhost:3000/v1/videos/ID/content"},
		{name: "its link is all there will be", body: `{"code":"success","data":{"task_id":"ID","status":"SUCCESS","result_url":"http://10.0.0.5:3000/v1/videos/ID/content","data":{}}}`, want: "succeeded video[0]=key:http://10.0.0.5:3000/v1/videos/ID/content"},
		{name: "a copied file keeps what is known of it", body: wrap(`"status":"SUCCESS","result_url":"https://oss.example/copy.mp4"`, file), want: "succeeded video[0]=https://oss.example/copy.mp4/5"},
		{name: "a failure", body: wrap(`"status":"FAILURE","fail_reason":"Image pixel is invalid","result_url":"Image pixel is invalid"`, `"failed","task_status_msg":"Image pixel is invalid","task_result":{}`), want: "failed: Image pixel is invalid"},
		{name: "its own time-out", body: wrap(`"status":"FAILURE","fail_reason":"任务超时（1分钟）","result_url":"任务超时（1分钟）"`, `"processing"`), want: "failed by relay: 任务超时（1分钟）"},
		{name: "its own trouble at the start", body: wrap(`"status":"FAILURE","fail_reason":"channel was deleted"`, `"submitted"`), want: "failed by relay: channel was deleted"},
		{name: "403 with an empty model name", status: 403, body: `{"error":{"code":"","message":"This token has no access to model  (request id: x)","type":"new_api_error"}}`, want: "error not_found"},
		{name: "403 with a model name", status: 403, body: `{"error":{"code":"","message":"This token has no access to model kling-v1 (request id: x)","type":"new_api_error"}}`, want: "error refused"},
		{name: "its front end", body: `<!doctype html><html><body></body></html>`, want: "error misconfigured"},
		{name: "no such path", status: 404, body: `{"error":{"message":"Invalid URL (GET /v1/videos/x)","type":"invalid_request_error"}}`, want: "error misconfigured"},
	} {
		d.run(t)
	}
}

func TestNotFoundInEverySpelling(t *testing.T) {
	t.Parallel()
	for _, d := range []dialect{
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
	} {
		d.want = "error not_found"
		d.run(t)
	}
	for _, d := range []dialect{
		{status: 404, body: `<html><body>404 Not Found</body></html>`, want: "error misconfigured"},
		{status: 404, body: `{"detail":"Not Found"}`, want: "error misconfigured"},
		{status: 404, body: `{"message":"no Route matched with those values"}`, want: "error misconfigured"},
		{status: 404, body: `404 page not found`, want: "error misconfigured"},
		{status: 503, body: `{"error":{"message":"No available channel for model kling-video","type":"new_api_error","code":"model_not_found"}}`, want: "error unavailable"},
		{status: 400, body: `{"error":{"message":"The model kling-v9 does not exist","code":"model_not_found"}}`, want: "error rejected"},
		{status: 401, body: `{"error":{"message":"user not found"}}`, want: "error refused"},
		{status: 200, body: `{"code":0,"message":"SUCCEED","data":{}}`, want: "error unreadable"},
	} {
		d.run(t)
	}
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
	for query, want := range map[string]time.Time{
		"Expires=1796126400":                                              at,
		"expires=1796126400000":                                           at,
		"x=1&ksTime=1796126400":                                           at,
		"e=1796126400&token=a":                                            at,
		"auth_expires=1796126400":                                         at,
		"se=2026-12-01T12%3A00%3A00Z&sp=r":                                at,
		"X-Amz-Date=20261201T110000Z&X-Amz-Expires=3600":                  at,
		"X-Goog-Date=20261201T110000Z&X-Goog-Expires=3600":                at,
		"x-tos-date=20261201T110000Z&x-tos-expires=3600":                  at,
		"x-oss-date=20261201T110000Z&x-oss-expires=3600":                  at,
		"q-sign-time=1796122800;1796126400":                               at,
		"Expires=1796126400&X-Amz-Date=20261201T110000Z&X-Amz-Expires=60": at.Add(-59 * time.Minute), // the earliest
		"Expires=never":                                                   {},
		"Expires=5":                                                       {},
		"X-Amz-Expires=3600":                                              {},
		"expires=99999999999999":                                          {},
		"":                                                                {},
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
