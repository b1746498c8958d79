package api

import (
	"strings"
	"testing"
)

const aTask = `{"task_id": "t-1", "action": "videos", "action2": "text2video", "external_id": "order-1", "metadata": {"user": 42}}`

func TestTasksAreCreatedOnce(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, sc := range []scenario{
		{name: "a new one", request: "POST /v1/tasks", key: "write", body: aTask, status: 201, has: []string{`"status":"pending"`, `"metadata":{"user":42}`, "Location: /v1/tasks/1"}},
		{name: "the same again", request: "POST /v1/tasks", key: "write", body: aTask, status: 200, has: []string{`"id":1,`}},
		{name: "with another content", request: "POST /v1/tasks", key: "write", body: strings.Replace(aTask, "42", "434343", 1), status: 409, has: []string{"/docs/problems/tracked-differently"}, hasNot: []string{"t-1", "434343"}},
		{name: "whose files are wanted now", request: "POST /v1/tasks", key: "write", body: strings.Replace(aTask, `"metadata"`, `"archive": true, "metadata"`, 1), status: 409, has: []string{"archive"}},
		{name: "one whose files are not kept", request: "POST /v1/tasks", key: "write", body: `{"task_id": "t-9", "action": "images", "action2": "generations", "archive": false, "callback_url": "https://app.example/hook", "callback_events": ["task.processing"]}`, status: 201, has: []string{`"archive":false`, `"callback_events":["task.processing"]`}},
		{name: "with an event that always comes", request: "POST /v1/tasks", key: "write", body: `{"task_id": "t-4", "action": "images", "action2": "generations", "callback_url": "https://app.example/hook", "callback_events": ["task.succeeded"]}`, status: 422, has: []string{"body.callback_events[0]"}},
		{name: "with events for nobody", request: "POST /v1/tasks", key: "write", body: `{"task_id": "t-4", "action": "images", "action2": "generations", "callback_events": ["task.archived"]}`, status: 422, has: []string{`"location":"body.callback_events"`, "goes with callback_url"}},
		{name: "a list", request: "POST /v1/tasks", key: "write", body: `[` + aTask + `, {"task_id": "t-2", "action": "images", "action2": "generations"}]`, status: 201, has: []string{`{"data":[{"id":1,`, `"task_id":"t-2"`}},
		{name: "a list with one that differs", request: "POST /v1/tasks", key: "write", body: `[{"task_id": "t-3", "action": "images", "action2": "generations"}, {"task_id": "t-2", "action": "images", "action2": "generations", "external_id": "x"}]`, status: 409, has: []string{`"location":"body[1]"`}},
		{name: "of which nothing is done", request: "GET /v1/tasks/by-task-id/t-3", key: "read", status: 404},
		{name: "an unknown field", request: "POST /v1/tasks", key: "write", body: `{"task_id": "t-4", "action": "images", "action2": "generations", "secret-name": 1}`, status: 422, has: []string{"unexpected property"}},
		{name: "a field of another type", request: "POST /v1/tasks", key: "write", body: `{"task_id": 4, "action": "images", "action2": "generations"}`, status: 422, has: []string{`"location":"body.task_id"`, "expected string"}},
		{name: "a missing field", request: "POST /v1/tasks", key: "write", body: `{"task_id": "t-4"}`, status: 422, has: []string{"action"}},
		{name: "a bad callback", request: "POST /v1/tasks", key: "write", body: `{"task_id": "t-4", "action": "images", "action2": "generations", "callback_url": "ftp://user:hidden@x"}`, status: 422, has: []string{`"location":"body.callback_url"`}, hasNot: []string{"hidden"}},
		{name: "a bad action", request: "POST /v1/tasks", key: "write", body: `{"task_id": "t-4", "action": "ima ges", "action2": "generations"}`, status: 422, has: []string{"action: "}},
		{name: "an unknown relay", request: "POST /v1/tasks", key: "write", body: `{"task_id": "t-4", "action": "images", "action2": "generations", "relay": "nowhere"}`, status: 422, hasNot: []string{"nowhere"}},
		{name: "a deadline that has passed", request: "POST /v1/tasks", key: "write", body: `{"task_id": "t-4", "action": "images", "action2": "generations", "deadline_at": "2020-01-01T00:00:00Z"}`, status: 422, has: []string{"must be in the future"}},
		{name: "a deadline that has passed, in a list", request: "POST /v1/tasks", key: "write", body: `[` + aTask + `, {"task_id": "t-4", "action": "images", "action2": "generations", "deadline_at": "2020-01-01T00:00:00Z"}]`, status: 422, has: []string{`"location":"body[1].deadline_at"`}},
		{name: "no JSON", request: "POST /v1/tasks", key: "write", body: `{"task_id": `, status: 400, has: []string{"/docs/problems/bad-request"}},
		{name: "nothing", request: "POST /v1/tasks", key: "write", body: ``, status: 400},
		{name: "an empty list", request: "POST /v1/tasks", key: "write", body: `[]`, status: 422, has: []string{"expected array length >= 1"}},
		{name: "more than a thousand", request: "POST /v1/tasks", key: "write", body: "[" + strings.Repeat(aTask+",", 1000) + aTask + "]", status: 422},
		{name: "another media type", request: "POST /v1/tasks", key: "write", headers: map[string]string{"Content-Type": "text/hidden"}, body: aTask, status: 415, hasNot: []string{"hidden"}},
		{name: "with a key that only reads", request: "POST /v1/tasks", key: "read", body: aTask, status: 403, has: []string{"/docs/problems/scope-missing", "scope write"}},
	} {
		s.try(sc)
	}
}

func TestTasksAreListedAndRead(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, external_id, app, metadata) select 't-' || n, 'videos', 'text2video', 'order-' || n, case when n = 1 then 'studio' else 'shop' end, jsonb_build_object('n', n) from generate_series(1, 5) n`)
	s.exec(`update klingwatch.tasks set status = 'succeeded', finished_at = now(), result = '{"secret": "raw"}' where id = 2`)
	s.exec(`insert into klingwatch.outputs (task, kind, position, url) values (2, 'video', 0, 'https://files.example/2.mp4')`)
	first := s.try(scenario{name: "the first part", request: "GET /v1/tasks?limit=2", key: "read", status: 200, has: []string{`"id":5`, `"id":4`, `Link: </v1/tasks?cursor=`}, hasNot: []string{`"id":3`}})
	next := first.fields(t)["next"].(string)
	for _, sc := range []scenario{
		{name: "the second part", request: "GET /v1/tasks?limit=2&cursor=" + next, key: "read", status: 200, has: []string{`"id":3`, `"id":2`}, hasNot: []string{"raw"}},
		{name: "the last part", request: "GET /v1/tasks?limit=5", key: "read", status: 200, has: []string{`"next":null`}},
		{name: "a cursor of another list", request: "GET /v1/tasks?limit=2&status=pending&cursor=" + next, key: "read", status: 422, has: []string{"cursor-mismatch"}},
		{name: "by status", request: "GET /v1/tasks?status=succeeded,failed&expand=outputs", key: "read", status: 200, has: []string{`"id":2`, "2.mp4"}, hasNot: []string{`"id":3`}},
		{name: "by metadata", request: "GET /v1/tasks?metadata[n]=3", key: "read", status: 200, has: []string{`"id":3`}, hasNot: []string{`"id":2`}},
		{name: "by what is not there", request: "GET /v1/tasks?external_id=nothing", key: "read", status: 200, has: []string{`{"data":[],"next":null}`}},
		{name: "a misspelt filter", request: "GET /v1/tasks?extrenal_id=1", key: "read", status: 422, has: []string{"unknown query parameter"}},
		{name: "an unknown status", request: "GET /v1/tasks?status=done", key: "read", status: 422, hasNot: []string{"done"}},
		{name: "too many at once", request: "GET /v1/tasks?limit=1000", key: "read", status: 422},
		{name: "of its app", request: "GET /v1/tasks", key: "app", status: 200, has: []string{`"id":1`}, hasNot: []string{`"id":2`}},
		{name: "of another app", request: "GET /v1/tasks?app=shop", key: "app", status: 403, has: []string{"app-restricted"}},
		{name: "one", request: "GET /v1/tasks/2", key: "read", status: 200, has: []string{"2.mp4", `"result":{"secret":"raw"}`, "Etag: "}},
		{name: "one of its app", request: "GET /v1/tasks/1", key: "app", status: 200},
		{name: "one of another app", request: "GET /v1/tasks/2", key: "app", status: 404},
		{name: "one that is not there", request: "GET /v1/tasks/99", key: "read", status: 404, has: []string{"/docs/problems/not-found"}},
		{name: "a text that the database cannot hold", request: "GET /v1/tasks?external_id=%00", key: "read", status: 422, has: []string{"a value that the database does not take"}},
		{name: "no number", request: "GET /v1/tasks/x", key: "read", status: 422, hasNot: []string{`"x"`}},
		{name: "with its events", request: "GET /v1/tasks/2?expand=events", key: "read", status: 200, has: []string{`"events":[]`}},
		{name: "by the provider's id", request: "GET /v1/tasks/by-task-id/t-2?action=videos", key: "read", status: 200, has: []string{`"id":2`}},
		{name: "by the provider's id, of another app", request: "GET /v1/tasks/by-task-id/t-2", key: "app", status: 404},
		{name: "an address that is not there", request: "GET /v1/nothing", key: "read", status: 404},
		{name: "another method", request: "DELETE /v1/tasks/2", key: "admin", status: 405, has: []string{"Allow: GET"}},
	} {
		s.try(sc)
	}
	tag := s.send(scenario{request: "GET /v1/tasks/2", key: "read"}).Header.Get("Etag")
	s.try(scenario{name: "nothing new", request: "GET /v1/tasks/2", key: "read", headers: map[string]string{"If-None-Match": tag}, status: 304})
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('t-2', 'videos', 'image2video')`)
	s.try(scenario{name: "an id of two tasks", request: "GET /v1/tasks/by-task-id/t-2", key: "read", status: 409, has: []string{"ambiguous"}})
}

func TestTasksAreCanceledAndRetried(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, app) values ('t-1', 'videos', 'text2video', 'studio'), ('t-2', 'videos', 'text2video', 'shop')`)
	for _, sc := range []scenario{
		{name: "cancel", request: "POST /v1/tasks/1/cancel", key: "write", status: 200, has: []string{`"status":"canceled"`, `"ended_by":"person"`}},
		{name: "cancel what has ended", request: "POST /v1/tasks/1/cancel", key: "write", status: 409, has: []string{"/docs/problems/conflict"}},
		{name: "retry", request: "POST /v1/tasks/1/retry", key: "app", status: 200, has: []string{`"status":"pending"`}},
		{name: "retry what is open", request: "POST /v1/tasks/1/retry", key: "write", status: 409},
		{name: "cancel another app's", request: "POST /v1/tasks/2/cancel", key: "app", status: 404},
		{name: "cancel nothing", request: "POST /v1/tasks/99/cancel", key: "write", status: 404},
	} {
		s.try(sc)
	}
}
