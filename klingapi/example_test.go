package klingapi_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/klingwatch/klingwatch/klingapi"
)

// Of two tasks, one has succeeded; for the other the relay answers that the client
// asks too often.
func ExampleClient_GetTask() {
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/kling/v1/videos/text2video/867283741759111202" {
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"code":1302,"message":"The API request is too fast"}`)
			return
		}
		fmt.Fprint(w, `{"code":0,"message":"SUCCEED","data":{"task_id":"867283741759111202","task_status":"succeed",
			"task_result":{"videos":[{"id":"1","url":"https://cdn.example/1.mp4","duration":"5.041"}]}}}`)
	}))
	defer relay.Close()
	client, err := klingapi.New(klingapi.Config{BaseURL: relay.URL, Credential: klingapi.StaticKey("sk-example")})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	for _, id := range []string{"867283741759111202", "867283741759111203"} {
		reply, err := client.GetTask(context.Background(), klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: id})
		if apiErr, ok := errors.AsType[*klingapi.Error](err); ok {
			fmt.Println(apiErr.Kind, apiErr.RetryAfter)
			continue
		}
		for _, o := range reply.Record.Outputs {
			fmt.Println(reply.Record.Status, o.Kind, o.URL, o.DurationSeconds)
		}
	}
	// Output:
	// succeeded video https://cdn.example/1.mp4 5.041
	// throttled 30s
}

// Kling's new family takes several ids in one request, and leaves out those that it does
// not know.
func ExampleClient_GetTasks() {
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.RequestURI)
		fmt.Fprint(w, `{"code":0,"message":"SUCCEED","data":[{"id":"867283741759111203","status":"processing"},
			{"id":"867283741759111202","status":"failed","message":"Image pixel is invalid"}]}`)
	}))
	defer relay.Close()
	client, err := klingapi.New(klingapi.Config{BaseURL: relay.URL, TaskPath: "/tasks?task_ids={task_ids}", Credential: klingapi.StaticKey("sk-example")})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	answers, err := client.GetTasks(context.Background(), []klingapi.Ref{
		{Action: "videos", Action2: "text2video", TaskID: "867283741759111202"},
		{Action: "videos", Action2: "text2video", TaskID: "867283741759111203"},
		{Action: "videos", Action2: "text2video", TaskID: "867283741759111204"},
	})
	if err != nil {
		log.Fatal(err) // an *Error about all of them
	}
	for _, a := range answers {
		if a.Err != nil {
			fmt.Println(a.Err)
			continue
		}
		fmt.Printf("%s: %s %q\n", a.Reply.Record.TaskID, a.Reply.Record.Status, a.Reply.Record.Message)
	}
	// Output:
	// /tasks?task_ids=867283741759111202,867283741759111203,867283741759111204
	// 867283741759111202: failed "Image pixel is invalid"
	// 867283741759111203: processing ""
	// not_found: HTTP 200, code 0: the answer has no record of it
}
