package feed

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/klingwatch/klingwatch/db"
)

// Frame is an event as it is sent. It is shared: nobody changes it.
type Frame struct {
	ID   int64
	Task int64  // 0: it is about an endpoint
	SSE  []byte // a whole message of a stream of server-sent events
	JSON []byte // the body of the webhook, with id and event_id (the webhook-id); a part of SSE
}

const (
	idField   = "id: "
	dataField = "\ndata: "
	endOfSSE  = "\n\n"
)

// encode makes the frame of an event.
func encode(e db.FeedEvent) *Frame {
	id := strconv.FormatInt(e.ID, 10)
	b := make([]byte, 0, len(e.Payload)+len(e.EventID)+2*len(id)+64)
	b = append(b, idField+id+dataField...)
	begin := len(b)
	b = append(b, `{"id":`+id+`,"event_id":`...)
	b = append(b, quoted(e.EventID)...)
	b = append(b, body(e)...)
	end := len(b)
	b = append(b, endOfSSE...)
	return &Frame{ID: e.ID, Task: e.Task, SSE: b, JSON: b[begin:end:end]}
}

// body is the payload after its first brace, with a comma before what it holds. One that
// is no object was inserted by hand.
func body(e db.FeedEvent) []byte {
	switch {
	case bytes.Equal(e.Payload, []byte("{}")):
		return []byte("}")
	case len(e.Payload) > 0 && e.Payload[0] == '{':
		return append([]byte{','}, e.Payload[1:]...)
	}
	return append(append([]byte(`,"type":`+string(quoted(e.Type))+`,"data":`), e.Payload...), '}')
}

func quoted(text string) []byte {
	b, _ := json.Marshal(text) // a string always can be
	return b
}
