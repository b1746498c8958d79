package feed

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db"
)

func decoded(t testing.TB, frame *Frame) (body map[string]any) {
	t.Helper()
	if err := json.Unmarshal(frame.JSON, &body); err != nil {
		t.Errorf("%s: %v", frame.JSON, err)
	}
	return body
}

// A frame is the webhook's body with the id and the webhook-id, also where somebody has
// inserted something else by hand.
func TestAFrameIsTheBodyOfTheWebhook(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{
		`{"data": {"id": 1}, "type": "task.failed"}`: `{"id":7,"event_id":"msg_\"","data": {"id": 1}, "type": "task.failed"}`,
		`{}`:    `{"id":7,"event_id":"msg_\""}`,
		`[1,2]`: `{"id":7,"event_id":"msg_\"","type":"task.failed","data":[1,2]}`,
		`null`:  `{"id":7,"event_id":"msg_\"","type":"task.failed","data":null}`,
	} {
		frame := encode(db.FeedEvent{ID: 7, EventID: `msg_"`, Type: "task.failed", Payload: json.RawMessage(payload)})
		if string(frame.JSON) != want || string(frame.SSE) != "id: 7\ndata: "+want+"\n\n" {
			t.Errorf("%s becomes %s", payload, frame.SSE)
		}
		if body := decoded(t, frame); !reflect.DeepEqual(body["id"], 7.0) || strings.Count(string(frame.SSE), "\n") != 3 {
			t.Error(fmt.Sprint(body))
		}
	}
}
