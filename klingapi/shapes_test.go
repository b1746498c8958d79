package klingapi_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingwatch/klingwatch/klingapi"
)

// ask has a server answer with the given status, headers and body, and returns
// what the client makes of it. HOST in the body is the host of the server.
func ask(t *testing.T, ref klingapi.Ref, status int, header http.Header, body []byte) (*klingapi.Reply, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		_, _ = w.Write(bytes.ReplaceAll(body, []byte("//HOST/"), []byte("//"+r.Host+"/")))
	}))
	defer server.Close()
	client, err := klingapi.New(klingapi.Config{BaseURL: server.URL, Credential: klingapi.StaticKey("sk-test")})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	return client.GetTask(t.Context(), ref)
}

func golden(t testing.TB, file string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

var (
	video  = klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: "867283741759111202"}
	flat   = klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: "866"}
	image  = klingapi.Ref{Action: "images", Action2: "generations", TaskID: "CjMT7WdSwWcAAAAAALvB3g"}
	millis = func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
)

// Every shape that the reference knows, with what it says about the task.
var shapes = []struct {
	file   string
	ref    klingapi.Ref
	status int // HTTP; 0: 200
	want   klingapi.Record
	code   string
	id     string // request id
}{
	{file: "seed.json", ref: image, id: "CjNTkGdSwxYAAAAAALud5A", want: klingapi.Record{
		TaskID: "CjMT7WdSwWcAAAAAALvB3g", Word: "succeed", Status: klingapi.Succeeded,
		Outputs:   []klingapi.Output{{Kind: klingapi.Image, URL: "https://cdn.klingai.com/bs2/upload-kling-api/0923471513/image/CjMT7WdSwWcAAAAAALvB3g-0_raw_image_0.png"}},
		CreatedAt: millis(1733851336696), UpdatedAt: millis(1733851344553),
	}},
	{file: "official-submitted.json", want: official("submitted", klingapi.Submitted)},
	{file: "official-processing-null-result.json", want: official("processing", klingapi.Processing)},
	{file: "official-processing-empty-result.json", want: official("processing", klingapi.Processing)},
	{file: "official-video.json", want: with(official("succeed", klingapi.Succeeded), func(r *klingapi.Record) {
		r.UnitDeduction = "2.5"
		r.Outputs = []klingapi.Output{{Kind: klingapi.Video, URL: "https://cdn.example/o.mp4?sig=1", UpstreamID: "v1", DurationSeconds: "5.041", WatermarkURL: "https://cdn.example/w.mp4"}}
	})},
	{file: "official-images-index.json", want: with(official("succeed", klingapi.Succeeded), func(r *klingapi.Record) {
		r.Outputs = files(klingapi.Image, "0.png", "1.png")
	})},
	{file: "official-succeeded.json", want: with(official("succeeded", klingapi.Succeeded), func(r *klingapi.Record) {
		r.Outputs = []klingapi.Output{{Kind: klingapi.Video, URL: "https://cdn.example/o.mp4", UpstreamID: "v1", DurationSeconds: "5"}}
	})},
	{file: "official-failed.json", want: with(official("failed", klingapi.Failed), func(r *klingapi.Record) {
		r.Message = "Image pixel is invalid"
	})},
	{file: "official-omni-series.json", want: with(official("succeed", klingapi.Succeeded), func(r *klingapi.Record) {
		r.Outputs = files(klingapi.Image, "0.png", "s0.png", "s1.png")
	})},
	{file: "official-multi-shot.json", want: with(official("succeed", klingapi.Succeeded), func(r *klingapi.Record) {
		r.Outputs = files(klingapi.Image, "1.png", "2.png", "3.png")
	})},
	{file: "official-audio.json", want: with(official("succeed", klingapi.Succeeded), func(r *klingapi.Record) {
		r.Outputs = audios()
	})},
	{file: "official-video-and-audio.json", want: with(official("succeed", klingapi.Succeeded), func(r *klingapi.Record) {
		r.Outputs = append([]klingapi.Output{{Kind: klingapi.Video, URL: "https://cdn.example/v.mp4", UpstreamID: "v", DurationSeconds: "4"}}, named("a", audios())...)
	})},
	{file: "official-without-url.json", want: with(official("succeed", klingapi.Succeeded), func(r *klingapi.Record) { r.Incomplete = true })},
	{file: "official-unknown-word.json", want: official("reticulating", "")},
	{file: "relay-seconds.json", want: with(official("processing", klingapi.Processing), func(r *klingapi.Record) {
		r.CreatedAt, r.UpdatedAt = millis(1774805076000), millis(1774805230000)
	})},
	{file: "relay-code-string.json", want: official("processing", klingapi.Processing)},
	{file: "relay-code-absent.json", want: official("processing", klingapi.Processing)},
	{file: "relay-data-array.json", want: with(official("succeed", klingapi.Succeeded), func(r *klingapi.Record) {
		r.Outputs = files(klingapi.Image, "0.png")
	})},
	{file: "relay-data-array-of-two.json", want: official("processing", klingapi.Processing)},
	{file: "relay-numeric-id.json", want: official("processing", klingapi.Processing)},
	{file: "relay-empty-id-upper-case.json", want: with(official("SUCCEED", klingapi.Succeeded), func(r *klingapi.Record) {
		r.TaskID = ""
		r.Outputs = files(klingapi.Image, "0.png")
	})},
	{file: "relay-bare-record.json", id: "-", want: klingapi.Record{TaskID: "867", Word: "processing", Status: klingapi.Processing, CreatedAt: millis(1774805076166)}},
	{file: "newapi-success.json", id: "r-inner", want: klingapi.Record{
		TaskID: "task_AbC", Word: "SUCCESS", Status: klingapi.Succeeded, UnitDeduction: "1",
		Outputs:   []klingapi.Output{{Kind: klingapi.Video, URL: "https://cdn.example/outer.mp4", UpstreamID: "v1", DurationSeconds: "5.041"}},
		CreatedAt: millis(1784517678000), UpdatedAt: millis(1784517969000),
	}},
	{file: "newapi-success-nested-twice.json", id: "r-inner", want: klingapi.Record{
		TaskID: "task_Out", Word: "SUCCESS", Status: klingapi.Succeeded, UnitDeduction: "1",
		Outputs:   []klingapi.Output{{Kind: klingapi.Video, URL: "https://cdn.example/inner.mp4", UpstreamID: "v1", DurationSeconds: "5.041"}},
		CreatedAt: millis(1784517678000), UpdatedAt: millis(1784517969000),
	}},
	{file: "newapi-url-in-fail-reason.json", id: "-", want: klingapi.Record{
		TaskID: "task_Old", Word: "SUCCESS", Status: klingapi.Succeeded, Outputs: files(klingapi.Video, "old.mp4"),
		CreatedAt: millis(1784517678000), UpdatedAt: millis(1784517969000),
	}},
	{file: "newapi-outer-failure-inner-processing.json", id: "-", want: klingapi.Record{TaskID: "task_T", Word: "FAILURE", Status: klingapi.Failed, Message: "task timed out", ByRelay: true}},
	{file: "newapi-in-progress.json", id: "-", want: klingapi.Record{TaskID: "task_P", Word: "IN_PROGRESS", Status: klingapi.Processing, CreatedAt: millis(1784517678000)}},
	{file: "newapi-not-start.json", id: "-", want: klingapi.Record{TaskID: "task_P", Word: "NOT_START", Status: klingapi.Submitted}},
	{file: "newapi-unknown.json", id: "-", want: klingapi.Record{TaskID: "task_P", Word: "UNKNOWN"}},
	{file: "newapi-failed-reason-inside.json", id: "-", want: klingapi.Record{TaskID: "task_F", Word: "FAILURE", Status: klingapi.Failed, Message: "risk control"}},
	{file: "flat-succeeded.json", id: "-", want: klingapi.Record{TaskID: "866", Word: "succeeded", Status: klingapi.Succeeded, Outputs: files(klingapi.Video, "o.m4v")}},
	{file: "flat-failed.json", id: "-", want: klingapi.Record{TaskID: "866", Word: "failed", Status: klingapi.Failed, Message: "upstream said no"}},
	{file: "flat-list-completed.json", ref: flat, id: "-", want: klingapi.Record{
		TaskID: "866", Word: "completed", Status: klingapi.Succeeded, Outputs: append(files(klingapi.Video, "o.mp4"), files(klingapi.Image, "o.png")...),
	}},
	{file: "flat-queued.json", ref: flat, id: "-", want: klingapi.Record{TaskID: "866", Word: "queued", Status: klingapi.Submitted}},
	{file: "flat-cancelled.json", ref: flat, id: "-", want: klingapi.Record{TaskID: "866", Word: "cancelled", Status: klingapi.Failed, Message: "canceled by the user"}},
	{file: "envelope-success-around-processing.json", id: "-", want: klingapi.Record{TaskID: "1", Word: "processing", Status: klingapi.Processing}},
	{file: "envelope-success-with-id-around-processing.json", id: "-", want: klingapi.Record{TaskID: "867283741759111202", Word: "processing", Status: klingapi.Processing}},
	{file: "envelope-success-with-id-alone.json", id: "-", want: klingapi.Record{TaskID: "867283741759111202", Word: "success", Bare: true}},
	{file: "relay-result-list.json", want: klingapi.Record{
		TaskID: "1", Word: "succeed", Status: klingapi.Succeeded, Outputs: append(files(klingapi.Image, "0.png"), files(klingapi.Video, "1.mp4")...),
	}},
	{file: "relay-result-object.json", want: klingapi.Record{TaskID: "1", Word: "succeed", Status: klingapi.Succeeded, Outputs: files(klingapi.Video, "o.mp4")}},
	{file: "relay-lists-beside-status.json", want: klingapi.Record{TaskID: "1", Word: "succeed", Status: klingapi.Succeeded, Outputs: files(klingapi.Video, "o.mp4")}},
	{file: "flat-video-url.json", ref: flat, id: "-", want: klingapi.Record{TaskID: "866", Word: "completed", Status: klingapi.Succeeded, Outputs: files(klingapi.Video, "o.mp4")}},
	{file: "record-with-http-error.json", status: 500, code: "5000", want: with(official("succeed", klingapi.Succeeded), func(r *klingapi.Record) {
		r.Outputs = files(klingapi.Image, "0.png")
	})},
	{file: "nul-and-surrogates.json", id: "-", want: klingapi.Record{TaskID: "t", Word: "failed", Status: klingapi.Failed, Message: "bad \uFFFD byte \uFFFD end"}},
}

func official(word string, status klingapi.Status) klingapi.Record {
	r := klingapi.Record{TaskID: "867283741759111202", Word: word, Status: status, CreatedAt: millis(1774805076166), UpdatedAt: millis(1774805230012)}
	return r
}

func with(r klingapi.Record, change func(*klingapi.Record)) klingapi.Record {
	change(&r)
	return r
}

func files(kind klingapi.Kind, names ...string) []klingapi.Output {
	outputs := make([]klingapi.Output, len(names))
	for i, name := range names {
		outputs[i] = klingapi.Output{Kind: kind, Position: i, URL: "https://cdn.example/" + name}
	}
	return outputs
}

func audios() []klingapi.Output {
	outputs := files(klingapi.Audio, "a.mp3", "a.wav")
	outputs[0].DurationSeconds, outputs[1].DurationSeconds = "3.1", "3.2"
	return named("a1", outputs)
}

func named(id string, outputs []klingapi.Output) []klingapi.Output {
	for i := range outputs {
		outputs[i].UpstreamID = id
	}
	return outputs
}

func TestEveryShapeDecodes(t *testing.T) {
	t.Parallel()
	for _, shape := range shapes {
		t.Run(shape.file, func(t *testing.T) {
			t.Parallel()
			ref, status, id := shape.ref, shape.status, shape.id
			if ref.TaskID == "" {
				ref = video
			}
			if status == 0 {
				status = http.StatusOK
			}
			switch id {
			case "":
				id = "r-1"
			case "-":
				id = ""
			}
			reply, err := ask(t, ref, status, nil, golden(t, shape.file))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(shape.want, reply.Record); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
			if reply.RequestID != id || reply.Code != shape.code || reply.HTTPStatus != status {
				t.Errorf("request id %q, code %q, HTTP %d; want %q, %q, %d", reply.RequestID, reply.Code, reply.HTTPStatus, id, shape.code, status)
			}
		})
	}
}

func TestEveryGoldenFileIsUsed(t *testing.T) {
	t.Parallel()
	used := map[string]bool{"errors.json": true, "dialects.json": true}
	for _, shape := range shapes {
		used[shape.file] = true
	}
	for _, row := range readErrorRows(t) {
		used[row.File] = true
	}
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() && !used[entry.Name()] {
			t.Errorf("testdata/%s is in no table", entry.Name())
		}
	}
}

// kindOf returns the kind of a client error.
func kindOf(t *testing.T, err error) *klingapi.Error {
	t.Helper()
	var apiErr *klingapi.Error
	if !errors.As(err, &apiErr) {
		t.Fatalf("want a *klingapi.Error, got %v", err)
	}
	return apiErr
}
