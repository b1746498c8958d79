package migrations_test

import (
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// reasons are texts of relays and providers as public documents and issues show them
// (ids made up), each row those of one reason.
var reasons = map[string][]string{
	// Kling and its simulators
	"Task not found by id/external id: #": {
		"Task not found by id/external id: quick-unknown-always-1",
		"Task not found by id/external id: quick-unknown-always-27",
		"Task not found by id/external id: nope",
		"Task not found by id/external id: 833446756123456789",
		"Task not found by id/external id: 0b0c6a5e-7c1d-4a92-9c4e-1f2a3b4c5d6e",
	},
	"Image pixel is invalid":                  {"Image pixel is invalid"},
	"Failure to pass the risk control system": {"Failure to pass the risk control system"},
	"duration value # is invalid":             {"duration value 7 is invalid", "duration value 12.5 is invalid"},
	"Image size must be at least #px, got #": {
		"Image size must be at least 300px, got 120x80",
		"Image size must be at least 300px, got 1920x1080",
	},

	// new-api and one-api
	"当前分组上游负载已饱和，请稍后再试 (request id: #)": {
		"当前分组上游负载已饱和，请稍后再试 (request id: 20250423020142736330894dLoIRrS6)",
		"当前分组上游负载已饱和，请稍后再试 (request id: 2024062804540355103293018330914)",
		"当前分组上游负载已饱和，请稍后再试 (request id: 20260521174921838127707FxeB1sRH)",
	},
	"No such model (request id: #)": {"No such model (request id: 2026)", "No such model (request id: B20260214145427566007998Fzvjk1Hd)"},
	`do request failed: Post "#": EOF`: {
		`do request failed: Post "https://my-upstream.example/v1beta/models/kling-v1-6:generate": EOF`,
		`do request failed: Post "http://10.0.0.7:3000/kling/v1/videos/text2video": EOF`,
	},
	"dial tcp #: connect: connection refused": {
		"dial tcp 10.0.0.1:443: connect: connection refused",
		"dial tcp 192.0.2.17:8080: connect: connection refused",
	},
	"channel error (channel ##, status code: #): upstream error": {
		"channel error (channel #21323, status code: 500): upstream error",
		"channel error (channel #7, status code: 502): upstream error",
	},
	`{"code":#,message: Task not found,"request_id":"#"}`: {
		`{"code":1201,"message":"Task not found","request_id":"ace7625a-3e18-49aa-abc4-000000000001"}`,
		`{"code":1201,"message":"Task not found","request_id":"r-9"}`,
	},
	`Error code: # - {"error": {message: 上游超时 (request id: #), "type": "upstream_error"}}`: {
		`Error code: 429 - {'error': {'message': '上游超时 (request id: 20260521174921838127707FxeB1sRH)', 'type': 'upstream_error'}}`,
		`Error code: 504 - {'error': {'message': '上游超时 (request id: 2024121602163036521732429064585)', 'type': 'upstream_error'}}`,
	},
	`Key: "Request.Prompt" Error:Field validation for "Prompt" failed on the "required" tag`: {
		`Key: 'Request.Prompt' Error:Field validation for 'Prompt' failed on the 'required' tag`,
	},
	"请求ID：#，内容不符合规范": {"请求ID：cgt-abc-x，内容不符合规范", "请求ID：7f3a9，内容不符合规范"},

	// others that relays pass on
	"RunningHub task # failed: success": {
		"RunningHub task 2010013217362944002 failed: success",
		"RunningHub task 2010013217362944777 failed: success",
	},
	`prompt "#" was refused`: {
		`prompt "a cat on the moon" was refused`, `prompt "dog" was refused`, `prompt “一只猫” was refused`, "prompt `x1` was refused",
	},
	"You can't do that, it doesn't work":      {"You can't do that, it doesn't work"},
	`parameter "image_tail" is not supported`: {`parameter 'image_tail' is not supported`},
	"cannot fetch # (HTTP #)": {
		"cannot fetch https://cdn.example/u/7/a%20b.png?X-Amz-Signature=00ff (HTTP 403)",
		"cannot fetch data://x (HTTP 404)",
	},
	"cannot fetch #.": {"cannot fetch https://cdn.example/a.png.", "cannot fetch s3://bucket/b/c.png."},
	"file # is broken": {
		"file 9f8e7d6c is broken", "file a1b2c3d4 is broken", "file upload_20260101_xyz_abc is broken", "file ZkQwP7xyz is broken",
	},
	"user # has no quota left":             {"user jane.doe+kling@mail.example has no quota left"},
	"traceId=# timed out after #s":         {"traceId=abc-def timed out after 30s", "traceId=x timed out after 900.5s"},
	"unknown task_ids #":                   {"unknown task_ids 1, 2, 3", "unknown task_ids 44"},
	"kling-v#-# does not serve text#video": {"kling-v1-6 does not serve text2video", "kling-v2-1 does not serve text2video"},
	"invalid: prompt is too long":          {"invalid: prompt  is too\nlong "},
	"it had not ended by its deadline":     {"it had not ended by its deadline"},
	"":                                     {""},
}

func TestOneReasonIsOneGroup(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	short := func(text string) (reason string) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), `select klingwatch.short_reason($1)`, text).Scan(&reason); err != nil {
			t.Fatal(err)
		}
		return reason
	}
	for want, texts := range reasons {
		for _, text := range texts {
			if got := short(text); got != want {
				t.Errorf("%s\n got %s\nwant %s", text, got, want)
			}
		}
		// summaries that are older than the function go through it again
		if again := short(want); again != want {
			t.Errorf("%s\nagain: %s", want, again)
		}
	}
	if got := short(strings.Repeat("瓶", 5000)); got != strings.Repeat("瓶", 200) {
		t.Errorf("a long text becomes %d bytes", len(got))
	}
}
