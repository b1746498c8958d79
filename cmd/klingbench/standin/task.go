package standin

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/webhook"
)

// All tasks of a measurement are alike except for their number, with which their
// id ends.
const (
	Action     = "videos"
	Action2    = "text2video"
	TaskPrefix = "bench-"
)

// The one output of a task that has succeeded.
const (
	OutputURL      = "https://files.example/v1.mp4"
	OutputDuration = "5.041" // seconds
	OutputLifetime = 30 * 24 * time.Hour
)

// TaskID returns the id of the task with a number.
func TaskID(number int) string { return TaskPrefix + strconv.Itoa(number) }

// The documented answer of Kling, compact.
const (
	replyHead = `{"code":0,"message":"SUCCEED","request_id":"bench","data":{"task_id":"` + TaskPrefix
	replyBody = `","task_status":"processing","task_status_msg":"","created_at":1760000000000,"updated_at":1760000001000}}`
	replyLast = `","task_status":"succeed","task_status_msg":"","created_at":1760000000000,"updated_at":1760000009000,` +
		`"task_result":{"videos":[{"id":"v1","url":"` + OutputURL + `","duration":"` + OutputDuration + `"}]}}}`
)

// Reply returns what the relay answers about the task with a number: succeed if
// it is the last reply, else processing.
func Reply(number int, last bool) []byte {
	tail := replyBody
	if last {
		tail = replyLast
	}
	const digits = 20
	b := make([]byte, 0, len(replyHead)+digits+len(tail))
	return append(strconv.AppendInt(append(b, replyHead...), int64(number), 10), tail...)
}

// The answer of Kling's new family about several tasks, compact.
const (
	batchHead   = `{"code":0,"message":"SUCCEED","request_id":"bench","data":[`
	batchRecord = `{"id":"` + TaskPrefix
	batchBody   = `","status":"processing","message":"","create_time":1760000000000,"update_time":1760000001000,"outputs":[]}`
	batchLast   = `","status":"succeeded","message":"","create_time":1760000000000,"update_time":1760000009000,` +
		`"outputs":[{"type":"video","id":"v1","url":"` + OutputURL + `","duration":"` + OutputDuration + `"}]}`
)

// batchReply is an answer about several tasks while it grows.
type batchReply struct{ text []byte }

func newBatchReply() *batchReply { return &batchReply{append(make([]byte, 0, 4<<10), batchHead...)} }

// add adds the record of a task; see Reply.
func (r *batchReply) add(number int, last bool) {
	if len(r.text) > len(batchHead) {
		r.text = append(r.text, ',')
	}
	tail := batchBody
	if last {
		tail = batchLast
	}
	r.text = append(strconv.AppendInt(append(r.text, batchRecord...), int64(number), 10), tail...)
}

// end returns the whole answer.
func (r *batchReply) end() []byte { return append(r.text, "]}"...) }

// Payload returns the body of a webhook about a task that has succeeded, for
// deliveries whose task does not matter.
func Payload() ([]byte, error) {
	now := time.Now().UTC()
	duration, expires := json.Number(OutputDuration), now.Add(OutputLifetime)
	return json.Marshal(webhook.Event{
		Type: webhook.TaskSucceeded, Timestamp: now, Data: webhook.Task{
			ID: 1, TaskID: TaskID(1), Action: Action, Action2: Action2, Status: "succeeded",
			Metadata: json.RawMessage("{}"), Sequence: 1, CreatedAt: now, FinishedAt: &now,
			Outputs: []webhook.Output{{Kind: "video", URL: OutputURL, DurationSeconds: &duration, ExpiresAt: &expires}},
		},
	})
}
