package klingsim_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// The ids of the tasks choose what happens to them.
func Example() {
	relay := klingsim.New(klingsim.Config{Seed: 7, APIKey: "sk-example"})
	server := httptest.NewServer(relay)
	defer server.Close()
	client, err := klingapi.New(klingapi.Config{BaseURL: server.URL, Credential: klingapi.StaticKey("sk-example")})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	for _, id := range []string{"quick-1", "quick-fail-2", "slow-3", "unknown-4"} {
		reply, err := client.GetTask(context.Background(), klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: id})
		if err != nil {
			fmt.Println(id, err)
			continue
		}
		fmt.Println(id, reply.Record.Status, len(reply.Record.Outputs))
	}
	fmt.Println(relay.Requests(), "requests")
	// Output:
	// quick-1 succeeded 1
	// quick-fail-2 failed 0
	// slow-3 submitted 0
	// unknown-4 not_found: HTTP 400, code 1201: Task not found by id/external id: unknown-4
	// 4 requests
}

// A word in the id chooses a fault: the first three answers are refusals.
func Example_fault() {
	relay := klingsim.New(klingsim.Config{Seed: 7, PublicURL: "http://cdn.example"})
	req := httptest.NewRequest(http.MethodGet, "/kling/v1/videos/text2video/quick-throttle-0042", nil)
	req.Header.Set("Authorization", "Bearer any")
	for range 4 {
		w := httptest.NewRecorder()
		relay.ServeHTTP(w, req)
		fmt.Println(w.Code, w.Header().Get("Retry-After"))
	}
	// Output:
	// 429 1
	// 429 1
	// 429 1
	// 200
}
