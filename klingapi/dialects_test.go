package klingapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/klingapi"
)

// loopback is the host of the server that answers.
var loopback = regexp.MustCompile(`//127\.0\.0\.1:[0-9]+/`)

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
		url := strings.TrimPrefix(loopback.ReplaceAllString(o.URL, "//HOST/"), "https://cdn.example/")
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

func runAll(t *testing.T, dialects []dialect) {
	t.Helper()
	for _, d := range dialects {
		d.run(t)
	}
}

var recordDialects = []dialect{
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

	{name: "Kie: state, a result in a string, the request in a string", body: `{"code":200,"msg":"success","data":{"taskId":"ID","model":"kling/v2-1","state":"success","param":"{\"input\":{\"image_url\":\"https://cdn.example/in.png\"}}","resultJson":"{\"resultUrls\":[\"https://cdn.example/o.mp4\"],\"resultWaterMarkUrls\":[\"https://cdn.example/w.mp4\"]}","failCode":null,"failMsg":null,"costTime":1}}`, want: "succeeded video[0]=o.mp4"},
	{name: "PiAPI whole", body: `{"code":200,"data":{"task_id":"ID","model":"kling","task_type":"video_generation","status":"completed","config":{"webhook_config":{"endpoint":"https://app.example/hook.mp4"}},"input":{"image_url":"https://cdn.example/in.png"},"output":{"type":"m2v_txt2video_hq","status":99,"works":[{"status":99,"type":"m2v_txt2video_hq","cover":{"resource":"https://cdn.example/c.png","duration":0},"video":{"resource":"https://cdn.example/w.mp4","resource_without_watermark":"https://cdn.example/o.mp4","duration":5100}}]},"meta":{"usage":{"type":"point"}},"detail":null,"logs":[],"error":{"code":0,"raw_message":"","message":"","detail":null}},"message":"success"}`,
		want: "succeeded video[0]=o.mp4/5.1 video[1]=w.mp4/5.1"},
	{name: "fal in its queue", body: `{"status":"IN_QUEUE","request_id":"ID","queue_position":3,"response_url":"https://queue.example/r/ID","status_url":"https://queue.example/r/ID/status"}`, want: "submitted"},
	{name: "fal is ready elsewhere", body: `{"status":"COMPLETED","request_id":"ID","response_url":"https://queue.example/r/ID","status_url":"https://queue.example/r/ID/status","logs":null}`, want: "bare"},
	{name: "fal with an error", body: `{"status":"COMPLETED","request_id":"ID","response_url":"https://queue.example/r/ID","error":"Content policy violation","error_type":"content_policy_violation"}`, want: "failed: Content policy violation"},
	{name: "Replicate whole", body: `{"id":"ID","model":"kwaivgi/kling-v2.1","input":{"prompt":"a cat","start_image":"https://cdn.example/in.png"},"logs":"","output":"https://cdn.example/o.mp4","data_removed":false,"error":null,"status":"succeeded","urls":{"cancel":"https://api.example/v1/predictions/ID/cancel","get":"https://api.example/v1/predictions/ID","stream":"https://stream.example/v1/files/x","web":"https://example.com/p/ID"},"metrics":{"predict_time":60}}`, want: "succeeded video[0]=o.mp4"},
	{name: "aimlapi: another id, still running", body: `{"id":"ID:kling-video/v1.6/standard","status":"generating"}`, want: "processing"},
	{name: "aimlapi: another id, a file", body: `{"id":"ID:kling-video/v1.6/standard","status":"completed","video":{"url":"https://cdn.example/o.mp4","content_type":"video/mp4","file_size":1}}`, want: "succeeded video[0]=o.mp4"},
	{name: "Volcengine Ark", body: `{"id":"ID","model":"kling","status":"succeeded","content":{"video_url":"https://cdn.example/o.mp4","last_frame_url":"https://cdn.example/l.png"},"usage":{"total_tokens":1},"created_at":1774805076,"seed":3}`, want: "succeeded video[0]=o.mp4"},
	{name: "Volcengine Ark failed", body: `{"id":"ID","model":"kling","status":"failed","error":{"code":"OutputVideoSensitiveContentDetected","message":"flagged"},"created_at":1774805076}`, want: "failed: flagged"},
	{name: "Volcengine visual, whose code is 10000", body: `{"code":10000,"data":{"status":"in_queue"},"message":"Success","request_id":"r","status":10000}`, want: "submitted"},
	{name: "Volcengine visual, done", body: `{"code":10000,"data":{"status":"done","image_urls":null,"video_url":"https://cdn.example/o.mp4"},"message":"Success","request_id":"r","status":10000}`, want: "succeeded video[0]=o.mp4"},
	{name: "DashScope", body: `{"request_id":"r","output":{"task_id":"ID","task_status":"SUCCEEDED","submit_time":"2026-01-01 10:00:00.000","orig_prompt":"a cat","video_url":"https://cdn.example/o.mp4"},"usage":{"duration":5,"video_count":1}}`, want: "succeeded video[0]=o.mp4"},
	{name: "DashScope failed", body: `{"request_id":"r","output":{"task_id":"ID","task_status":"FAILED","code":"DataInspectionFailed","message":"flagged"}}`, want: "failed: flagged"},
	{name: "Tencent", body: `{"Response":{"Status":"DONE","ErrorCode":"","ErrorMessage":"","ResultVideoUrl":"https://cdn.example/o.mp4","RequestId":"r"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "Tencent running", body: `{"Response":{"Status":"RUN","ErrorCode":"","ErrorMessage":"","ResultVideoUrl":"","RequestId":"r"}}`, want: "processing"},
	{name: "Tencent VOD", body: `{"Response":{"TaskType":"AigcVideoTask","Status":"FINISH","AigcVideoTask":{"TaskId":"ID","Status":"FINISH","ErrCode":0,"Message":"","Progress":100,"Input":{"FileInfos":[{"Url":"https://cdn.example/in.png"}]},"Output":{"FileInfos":[{"FileUrl":"https://cdn.example/o.mp4","FileType":"mp4","MetaData":{"Duration":5}}]}},"RequestId":"r"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "Freepik", body: `{"data":{"task_id":"ID","status":"COMPLETED","generated":["https://cdn.example/o"],"has_nsfw":[false]}}`, want: "succeeded video[0]=o"},
	{name: "Pollo", body: `{"taskId":"ID","generations":[{"id":"g","createdDate":"2026-01-01T00:00:00Z","status":"succeed","failMsg":"","url":"https://cdn.example/o.mp4","mediaType":"video"}]}`, want: "succeeded video[0]=o.mp4"},
	{name: "Pollo failed", body: `{"code":"SUCCESS","message":"success","data":{"taskId":"ID","generations":[{"id":"g","status":"failed","failMsg":"nsfw","url":""}]}}`, want: "failed: nsfw"},
	{name: "WaveSpeed", body: `{"code":200,"message":"success","data":{"id":"ID","model":"kwaivgi/kling-v2.1-i2v","outputs":["https://cdn.example/o.mp4"],"urls":{"get":"https://api.example/api/v3/predictions/ID/result"},"has_nsfw_contents":[false],"status":"completed","error":"","executionTime":1}}`, want: "succeeded video[0]=o.mp4"},
	{name: "Novita: files beside the task", body: `{"extra":{"seed":"1"},"task":{"task_id":"ID","status":"TASK_STATUS_SUCCEED","reason":"","task_type":"KLING_V1_6_T2V","eta":0,"progress_percent":100},"images":[],"videos":[{"video_url":"https://cdn.example/o.mp4","video_url_ttl":"3600","video_type":"mp4"}],"audios":[]}`, want: "succeeded video[0]=o.mp4"},
	{name: "Novita running", body: `{"task":{"task_id":"ID","status":"TASK_STATUS_PROCESSING","reason":"","progress_percent":30},"images":[],"videos":[]}`, want: "processing"},
	{name: "Novita failed", body: `{"task":{"task_id":"ID","status":"TASK_STATUS_FAILED","reason":"bad image"},"images":[],"videos":[]}`, want: "failed: bad image"},
	{name: "Vidu", body: `{"id":"ID","state":"success","err_code":"","creations":[{"id":"c","url":"https://cdn.example/o.mp4","cover_url":"https://cdn.example/c.png","watermarked_url":"https://cdn.example/w.mp4"}]}`, want: "succeeded video[0]=o.mp4"},
	{name: "Vidu failed", body: `{"id":"ID","state":"failed","err_code":"CreationPolicyViolation","creations":[]}`, want: "failed: CreationPolicyViolation"},
	{name: "Runway", body: `{"id":"ID","status":"FAILED","createdAt":"2026-01-01T00:00:00Z","failure":"An unexpected error","failureCode":"INTERNAL.BAD_OUTPUT.CODE01"}`, want: "failed: An unexpected error"},
	{name: "Luma", body: `{"id":"ID","generation_type":"video","state":"completed","failure_reason":null,"assets":{"video":"https://cdn.example/o.mp4"},"request":{"keyframes":{"frame0":{"type":"image","url":"https://cdn.example/in.png"}}}}`, want: "succeeded video[0]=o.mp4"},
	{name: "OpenRouter", body: `{"id":"ID","generation_id":"gen-1","polling_url":"https://gw.example/api/v1/videos/ID","status":"completed","unsigned_urls":["https://gw.example/api/v1/videos/ID/content?index=0"],"usage":{"cost":0.5}}`, want: "succeeded video[0]=key:https://gw.example/api/v1/videos/ID/content?index=0"},
	{name: "OpenAI's seconds", body: `{"id":"ID","object":"video","status":"completed","progress":100,"seconds":"5","size":"1280x720","url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4/5"},
	{name: "a status that is an object", body: `{"id":"ID","status":{"state":"completed","message":""},"output":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "job_status", body: `{"job_id":"ID","job_status":"completed","output":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "three envelopes", body: `{"success":true,"data":{"code":"success","data":{"result":{"task_id":"ID","task_status":"succeed","task_result":{"videos":[{"url":"https://cdn.example/o.mp4"}]}}}}}`, want: "succeeded video[0]=o.mp4"},
	{name: "tRPC", body: `{"result":{"data":{"json":{"id":"ID","status":"completed","video_url":"https://cdn.example/o.mp4"}}}}`, want: "succeeded video[0]=o.mp4"},
	{name: "JSON-RPC", body: `{"jsonrpc":"2.0","id":1,"result":{"task_id":"ID","status":"running"}}`, want: "processing"},
	{name: "a proxy's body in a string", body: `{"statusCode":200,"headers":{},"body":"{\"code\":0,\"data\":{\"task_id\":\"ID\",\"task_status\":\"processing\"}}"}`, want: "processing"},
	{name: "the root is a list", body: `[{"task_id":"ID","task_status":"failed","task_status_msg":"flagged"}]`, want: "failed: flagged"},
	{name: "records by their ids", body: `{"code":0,"data":{"8":{"status":"failed"},"ID":{"status":"completed","url":"https://cdn.example/o.mp4"}}}`, want: "succeeded video[0]=o.mp4"},
	{name: "a list inside data", body: `{"code":0,"data":{"list":[{"task_id":"ID","task_status":"processing"}],"total":1}}`, want: "processing"},
	{name: "the asked one on a page of a listing", body: `{"code":0,"total":57,"data":[{"id":"8","status":"failed","message":"no"},{"id":"ID","status":"succeeded","outputs":[{"type":"video","url":"https://cdn.example/o.mp4"}]}]}`, want: "succeeded video[0]=o.mp4"},
	{name: "a page with one record is no answer", body: `{"data":[{"id":"8","status":"failed","message":"no","progress":1}],"page":1,"page_size":20}`, want: "error unreadable"},
	{name: "Django's page is no answer", body: `{"count":57,"next":"https://api.example/?page=2","previous":null,"results":[{"id":"8","status":"failed","progress":1}]}`, want: "error unreadable"},
	{name: "OpenAI's list is no answer", body: `{"object":"list","data":[{"id":"8","status":"failed","progress":1}],"first_id":"8","last_id":"8","has_more":false}`, want: "error unreadable"},
	{name: "a page that says so in pagination", body: `{"data":[{"id":"8","status":"failed","progress":1}],"pagination":{"total":40}}`, want: "error unreadable"},
	{name: "a word of the request around a running task", body: `{"status":"success","task_id":"ID","data":{"status":"processing"}}`, want: "processing"},
	{name: "an old record inside a running one", body: `{"task_id":"ID","status":"processing","data":{"task_id":"7","status":"failed","error":"old"}}`, want: "processing"},
	{name: "task is a name", body: `{"task":"kling-video","id":"ID","status":"succeeded","data":{"video_url":"https://cdn.example/o.mp4"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "PHP's empty lists", body: `{"code":0,"message":"SUCCEED","data":{"task_id":"ID","task_status":"processing","task_info":[],"task_result":[],"error":[]}}`, want: "processing"},
	{name: "all in capitals", body: `{"CODE":0,"DATA":{"TASK_ID":"ID","TASK_STATUS":"SUCCEED","TASK_RESULT":{"VIDEOS":[{"URL":"https://cdn.example/o.mp4"}]}}}`, want: "succeeded video[0]=o.mp4"},
	{name: "resultURLs", body: `{"taskID":"ID","state":"success","resultURLs":["https://cdn.example/o"]}`, want: "succeeded video[0]=o"},
	{name: "hyphens in a word", body: `{"task_id":"ID","status":"in-progress"}`, want: "processing"},
	{name: "a number of a word decides nothing", body: `{"code":0,"data":{"task_id":"ID","task_status":3}}`, want: "error unreadable"},
	{name: "202 without more", status: 202, body: `{"status":"processing","retry_after":5}`, want: "processing"},
	{name: "an unknown code and a success in words", body: `{"code":20000,"message":"操作成功","data":{"id":"ID","status":"failed","message":"flagged"}}`, want: "failed: flagged"},
	{name: "HeyGen", body: `{"code":100,"data":{"id":"ID","status":"completed","video_url":"https://cdn.example/o.mp4","thumbnail_url":"https://cdn.example/t.jpg","gif_url":"https://cdn.example/o.gif","video_url_caption":null,"duration":5.1,"error":null},"message":"Success"}`, want: "succeeded video[0]=o.mp4/5.1"},
	{name: "MiniMax is queueing", body: `{"task_id":"ID","status":"Queueing","file_id":"","base_resp":{"status_code":0,"status_msg":"success"}}`, want: "submitted"},
	{name: "a page of the relay about itself", body: `{"status":"running","version":"1.2","uptime":5}`, want: "error unreadable"},
	{name: "a welcome with a link", body: `{"status":"success","message":"Welcome","url":"https://docs.example/api"}`, want: "error unreadable"},
	{name: "nothing yet, under 202", status: 202, body: `{"code":0,"data":null}`, want: "error unreadable"},
	{name: "an outer record that runs around an inner one that failed", body: `{"id":"ID","status":"processing","result":{"status":"failed","progress":10,"error":"step 1"}}`, want: "processing"},
	{name: "a null record", body: `{"code":0,"message":"SUCCEED","data":{"task_id":"ID","task_status":null,"task_result":null}}`, want: "error unreadable"},
	{name: "an empty word", body: `{"code":0,"message":"SUCCEED","data":{"task_id":"ID","task_status":""}}`, want: ""},
	{name: "a timeout of the envelope around a running task", body: `{"status":"timeout","message":"cache","data":{"task_id":"ID","task_status":"processing"}}`, want: "processing"},
	{name: "SSE", body: "data: {\"status\":\"failed\",\"task_id\":\"ID\"}\n\n", want: "error unreadable"},
	{name: "a plain word", body: `"succeed"`, want: "error unreadable"},
	{name: "numbers for strings", body: `{"code":"0","data":{"task_id":12345678901234567890,"task_status":"succeed","created_at":"1774805076166","task_result":{"videos":[{"id":7,"url":"https://cdn.example/o.mp4","duration":5.1}]}}}`, want: "succeeded video[0]=o.mp4/5.1"},
	{name: "GraphQL", body: `{"data":{"getTask":{"id":"ID","status":"COMPLETED","videoUrl":"https://cdn.example/o.mp4"}}}`, want: "succeeded video[0]=o.mp4"},
	{name: "GraphQL with an error", body: `{"errors":[{"message":"boom"}],"data":{"getTask":null}}`, want: "error unreadable"},
	{name: "a detail inside data", body: `{"code":0,"data":{"detail":{"id":"ID","status":"succeeded","url":"https://cdn.example/o.mp4"}}}`, want: "succeeded video[0]=o.mp4"},
	{name: "a lone request is no record", body: `{"request":{"task_id":"ID","status":"failed"}}`, want: "error unreadable"},
	{name: "Tencent's record is named after its type", body: `{"TaskType":"EditMedia","Status":"FINISH","EditMediaTask":{"TaskId":"ID","Status":"FINISH","ErrCode":40000,"Message":"invalid input","Output":{"FileUrl":""}},"RequestId":"r"}`, want: "failed: invalid input"},
	{name: "Runware", body: `{"data":[{"taskType":"videoInference","taskUUID":"ID","status":"success","videoUUID":"v","videoURL":"https://cdn.example/o.mp4","cost":0.1}]}`, want: "succeeded video[0]=o.mp4"},
	{name: "Runware failed", body: `{"data":[],"errors":[{"code":"timeoutProvider","status":"error","message":"no response","taskUUID":"ID"}]}`, want: "error unreadable"},
	{name: "Ace Data", body: `{"id":"ID","request":{"image_url":"https://cdn.example/in.png"},"response":{"success":true,"video_id":"v","video_url":"https://cdn.example/o.mp4","state":"succeed","task_id":"9"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "Tencent failed, without an id", body: `{"Response":{"Status":"FAIL","ErrorCode":"InvalidParameter","ErrorMessage":"bad image","ResultVideoUrl":"","RequestId":"r"}}`, want: "failed unsure: bad image"},
	{name: "a failure that repeats an image is one of the request", action: "images", body: `{"status":"failed","images":["https://cdn.example/in.png"],"message":"unsupported"}`, want: "error unreadable"},
	{name: "a word of the request that says created", body: `{"id":"r","status":"created","data":{"id":"ID","status":"succeeded","url":"https://cdn.example/o.mp4"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "a batch that failed around the task that did not", body: `{"data":{"task_id":"B","status":"failed","tasks":[{"id":"A","status":"failed"},{"id":"ID","status":"completed","url":"https://cdn.example/o.mp4"}]}}`, want: "succeeded video[0]=o.mp4"},
	{name: "an error in detail that repeats the id", status: 400, body: `{"detail":{"status":"error","task_id":"ID","message":"bad request"}}`, want: "error rejected"},
}

func TestRecordsAreFound(t *testing.T) {
	t.Parallel()
	runAll(t, recordDialects)
}

var resultDialects = []dialect{
	{name: "an element", action: "general", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"elements":[{"element_id":829,"element_name":"cat"}]}}}`, want: `succeeded result={"elements":[{"element_id":829,"element_name":"cat"}]}`},
	{name: "a voice, whose trial is no output", action: "general", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"voices":[{"voice_id":"v-1","trial_url":"https://cdn.example/t.mp3"}]}}}`, want: `succeeded result={"voices":[{"trial_url":"https://cdn.example/t.mp3","voice_id":"v-1"}]}`},
	{name: "faces", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"session_id":"s","face_data":[{"face_id":"0","start_time":0}]}}}`, want: `succeeded result={"face_data":[{"face_id":"0","start_time":0}],"session_id":"s"}`},
	{name: "a text", body: `{"id":"ID","status":"succeeded","output":{"text":"a cat on a mat"}}`, want: `succeeded result={"text":"a cat on a mat"}`},
	{name: "nothing is no result", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"videos":[]}}}`, want: `succeeded`},
}

func TestResultsThatAreNoFiles(t *testing.T) {
	t.Parallel()
	runAll(t, resultDialects)
}

var contradictionDialects = []dialect{
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

	{name: "a failure beside a refused key, without a reason", status: 401, body: `{"code":1002,"message":"Authorization is invalid","data":{"task_id":"ID","task_status":"failed"}}`, want: "failed unsure: Authorization is invalid"},
	{name: "a success without files under HTTP 500", status: 500, body: `{"code":5000,"message":"internal","data":{"task_id":"ID","task_status":"succeed","task_result":{}}}`, want: "error unavailable"},
	{name: "an element under HTTP 500", status: 500, action: "general", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"elements":[{"element_id":829}]}}}`, want: `succeeded result={"elements":[{"element_id":829}]}`},
	{name: "error beside a progress", body: `{"status":"error","task_id":"ID","progress":10,"message":"upstream 502, retrying"}`, want: "failed unsure: upstream 502, retrying"},
	{name: "a success beside a throttle's error", body: `{"task_id":"ID","status":"completed","progress":100,"error":{"code":"rate_limit_exceeded","message":"slow down"}}`, want: "failed unsure: slow down"},
	{name: "a failure with a code of the key", body: `{"status":"failed","task_id":"ID","error":{"code":"invalid_api_key","message":"wrong key"}}`, want: "error refused"},
	{name: "an unknown code of the envelope around a weak failure", body: `{"code":9999,"msg":"odd","data":{"id":"ID","status":"failed","message":"flagged"}}`, want: "failed unsure: flagged"},
	{name: "the code of the error is no error", body: `{"task_id":"ID","status":"completed","progress":100,"error":{"code":200,"message":""}}`, want: "succeeded"},
	{name: "no error in words", body: `{"task_id":"ID","status":"completed","progress":100,"error":"None","fail_reason":"N/A","error_message":"no error"}`, want: "succeeded"},
	{name: "a reason of success", body: `{"task_id":"ID","status":"completed","progress":100,"fail_reason":"生成成功","error_msg":"Task completed successfully"}`, want: "succeeded"},
	{name: "errors in a list", body: `{"task_id":"ID","status":"failed","errors":[{"code":"x","message":"flagged"}]}`, want: "failed: flagged"},
	{name: "an error inside an error", body: `{"task_id":"ID","status":"FAILURE","progress":"1%","error":{"error":{"message":"flagged"}}}`, want: "failed: flagged"},
	{name: "an error as a list of texts", body: `{"task_id":"ID","status":"FAILURE","progress":"1%","error":["flagged","twice"]}`, want: "failed: flagged"},
	{name: "an error that is true", body: `{"task_id":"ID","status":"failed","error":true,"message":"flagged"}`, want: "failed: flagged"},
	{name: "only a code says why", body: `{"code":200,"msg":"success","data":{"taskId":"ID","state":"fail","failCode":"422","failMsg":""}}`, want: "failed: 422"},
	{name: "detail says why", body: `{"id":"ID","status":"failed","detail":"NSFW content"}`, want: "failed: NSFW content"},
	{name: "aborted", body: `{"id":"ID","status":"aborted","error":null}`, want: "failed"},
	{name: "nsfw", body: `{"id":"ID","status":"nsfw"}`, want: "failed"},
	{name: "a word that the table lacks ends nothing", body: `{"id":"ID","status":"moderated","error":"flagged"}`, want: ""},
	{name: "an error that is a link ", body: `{"task_id":"ID","status":"completed","progress":100,"error":"https://docs.example/policy"}`, want: "failed: https://docs.example/policy"},
	{name: "an error of a callback is not the task's", body: `{"task_id":"ID","task_status":"processing","callback":{"status":"failed","error":"HTTP 500"},"webhook":{"task_status":"failed"}}`, want: "processing"},
	{name: "a failed input task is not this one", body: `{"task_id":"ID","task_status":"processing","input":{"task_id":"7","task_status":"failed"},"parent_task":{"task_id":"7","status":"failed"}}`, want: "processing"},
	{name: "a success half way is one of the request", body: `{"code":0,"status":"success","task_id":"ID","progress":"35%"}`, want: "bare"},
	{name: "a failure of the request around an unknown word", body: `{"status":"failed","id":"ID","data":{"task_id":"ID","task_status":"reticulating"}}`, want: ""},
	{name: "an outage around a failed and a running record", status: 500, body: `{"id":"ID","status":"processing","result":{"status":"failed","progress":10,"error":"step 1"}}`, want: "error unavailable"},
	{name: "an error of the envelope beside a success without files", body: `{"error":{"code":0,"message":"try later"},"data":{"id":"ID","status":"completed"}}`, want: "failed unsure: try later"},
	{name: "two weak words that disagree", body: `{"code":0,"status":"failed","id":"ID","data":{"id":"ID","status":"completed"}}`, want: "failed unsure"},
	{name: "the reason of a record inside an error", status: 500, body: `{"request_id":"r","output":{"task_id":"ID","task_status":"FAILED","code":"DataInspectionFailed","message":"flagged"}}`, want: "failed: flagged"},
	{name: "an error word that says that the task is not there", body: `{"status":"error","task_id":"ID","error":"Task not found"}`, want: "error not_found"},
	{name: "a failure that says so", body: `{"status":"failed","task_id":"ID","message":"task does not exist"}`, want: "error not_found"},
	{name: "a failure of a missing image stays one", body: `{"status":"failed","task_id":"ID","error":"input image not found"}`, want: "failed: input image not found"},
	{name: "a failure with the provider's own code", body: `{"task_id":"ID","status":"failed","error_code":"CONTENT_BLOCKED","error_message":"flagged"}`, want: "failed: flagged"},
	{name: "a failure word with nothing else but a request id", body: `{"status":"failed","request_id":"r-1","message":"invalid signature"}`, want: "error unreadable"},
	{name: "an OpenAI error under 200 that repeats the id", body: `{"id":"ID","error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"},"status":"failed"}`, want: "error throttled"},
	{name: "another progress", body: `{"status":"success","task_id":"ID","progress":0.4}`, want: "bare"},
	{name: "a fraction that is whole", body: `{"status":"success","task_id":"ID","progress":1}`, want: "succeeded"},
	{name: "an error beside a running word", body: `{"task_id":"ID","status":"processing","error":"attempt 1 failed, retrying"}`, want: "processing"},
	{name: "a failure with a throttle's error in an envelope", body: `{"code":0,"data":{"id":"ID","status":"failed","error":{"code":"rate_limit_exceeded","message":"slow down"}}}`, want: "failed unsure: slow down"},
	{name: "a failure with its own 500", body: `{"id":"ID","status":"failed","error":{"code":500,"message":"generation failed"}}`, want: "failed: generation failed"},
	{name: "a success with an error code", body: `{"task_id":"ID","status":"success","progress":100,"err_code":40000,"message":"invalid input"}`, want: "failed: invalid input"},
}

func TestContradictions(t *testing.T) {
	t.Parallel()
	runAll(t, contradictionDialects)
}

// aroundKling is a record of new-api around one of Kling.
func aroundKling(outer, inner string) string {
	return `{"code":"success","message":"","data":{"id":1,"task_id":"ID",` + outer + `,"data":{"code":0,"message":"SUCCEED","data":{"task_id":"800","task_status":` + inner + `}}}}`
}

const klingFile = `"succeed","task_result":{"videos":[{"id":"v1","url":"https://cdn.example/o.mp4","duration":"5"}]}`

var newAPIDialects = []dialect{
	{name: "created", body: aroundKling(`"status":"NOT_START","fail_reason":"","progress":"0%"`, `"submitted"`), want: "submitted"},
	{name: "its link over a true URL", body: aroundKling(`"status":"SUCCESS","result_url":"http://localhost:3000/v1/videos/ID/content"`, klingFile), want: "succeeded video[0]=o.mp4/5"},
	{name: "its link under a public name", body: aroundKling(`"status":"SUCCESS","result_url":"https://relay.example/v1/videos/ID/content"`, klingFile), want: "succeeded video[0]=o.mp4/5"},
	{name: "its link and a file to come", body: aroundKling(`"status":"SUCCESS","result_url":"http://localhost:3000/v1/videos/ID/content"`, `"succeed","task_result":{"videos":[{"id":"v","url":""}]}`), want: "succeeded incomplete video[0]=key:http://localhost:3000/v1/videos/ID/content"},
	{name: "its link in a list, and a true URL beside it", body: `{"task_id":"ID","status":"SUCCESS","progress":"100%","outputs":["http://HOST/v1/videos/ID/content"],"url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "its link in the first of two lists", body: `{"task_id":"ID","status":"SUCCESS","progress":"100%","outputs":["http://HOST/v1/videos/ID/content"],"task_result":{"videos":[{"url":"https://cdn.example/o.mp4"}]}}`, want: "succeeded video[0]=o.mp4"},
	{name: "its link is all there will be", body: `{"code":"success","data":{"task_id":"ID","status":"SUCCESS","result_url":"http://10.0.0.5:3000/v1/videos/ID/content","data":{}}}`, want: "succeeded video[0]=key:http://10.0.0.5:3000/v1/videos/ID/content"},
	{name: "a copied file keeps what is known of it", body: aroundKling(`"status":"SUCCESS","result_url":"https://oss.example/copy.mp4"`, klingFile), want: "succeeded video[0]=https://oss.example/copy.mp4/5"},
	{name: "a failure", body: aroundKling(`"status":"FAILURE","fail_reason":"Image pixel is invalid","result_url":"Image pixel is invalid"`, `"failed","task_status_msg":"Image pixel is invalid","task_result":{}`), want: "failed: Image pixel is invalid"},
	{name: "its own time-out", body: aroundKling(`"status":"FAILURE","fail_reason":"任务超时（1分钟）","result_url":"任务超时（1分钟）"`, `"processing"`), want: "failed by relay: 任务超时（1分钟）"},
	{name: "its own trouble at the start", body: aroundKling(`"status":"FAILURE","fail_reason":"channel was deleted"`, `"submitted"`), want: "failed by relay: channel was deleted"},
	{name: "403 with an empty model name", status: 403, body: `{"error":{"code":"","message":"This token has no access to model  (request id: x)","type":"new_api_error"}}`, want: "error not_found"},
	{name: "403 with a model name", status: 403, body: `{"error":{"code":"","message":"This token has no access to model kling-v1 (request id: x)","type":"new_api_error"}}`, want: "error refused"},
	{name: "its front end", body: `<!doctype html><html><body></body></html>`, want: "error misconfigured"},
	{name: "no such path", status: 404, body: `{"error":{"message":"Invalid URL (GET /v1/videos/x)","type":"invalid_request_error"}}`, want: "error misconfigured"},

	{name: "new-api's inner error around nothing", body: `{"code":"success","message":"","data":{"task_id":"ID","status":"IN_PROGRESS","fail_reason":"","data":{"code":1303,"message":"parallel task over resource pack limit","request_id":"r"}}}`, want: "processing"},
	{name: "new-api keeps an inner error with its time-out", body: `{"code":"success","message":"","data":{"task_id":"ID","status":"FAILURE","fail_reason":"task timeout","data":{"code":0,"data":{"task_status":"submitted"}}}}`, want: "failed by relay: task timeout"},
}

func TestInFrontOfNewAPI(t *testing.T) {
	t.Parallel()
	runAll(t, newAPIDialects)
}
