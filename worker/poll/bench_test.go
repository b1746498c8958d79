package poll

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/klingapi"
)

// runningForever answers without a network, with as few objects as can be.
type runningForever struct{}

const runningBody = `{"code":0,"message":"SUCCEED","request_id":"bench","data":{"task_id":"1","task_status":"processing","task_status_msg":"","created_at":1760000000000,"updated_at":1760000001000}}`

func (runningForever) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(runningBody))}, nil
}

// BenchmarkUnchangedPoll is a poll that changes nothing, from the dispatcher's hands to the
// plan of the next one, without the network:
//
//	go test ./worker/poll -run '^$' -bench . -benchmem
func BenchmarkUnchangedPoll(b *testing.B) {
	p, at := onePoller(b, 0)
	var err error
	if at.Client, err = klingapi.New(klingapi.Config{BaseURL: "http://relay.example", Credential: klingapi.StaticKey("sk-test"), Transport: runningForever{}}); err != nil {
		b.Fatal(err)
	}
	poll := func() {
		w := p.takeDue(false)
		if w == nil {
			b.Fatal("no task is due")
		}
		p.ask(newRequest(w, ticket{}))
	}
	for id := range int64(100) {
		p.admit(at, NewWatched(processing(id), Memory{}))
		poll() // the first answer is read
	}
	b.ReportAllocs()
	for b.Loop() {
		poll()
	}
}
