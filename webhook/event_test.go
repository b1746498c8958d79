package webhook_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/klingwatch/klingwatch/webhook"
)

var eventTime = time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)

func succeeded() webhook.Event {
	seconds := json.Number("5.041")
	return webhook.Event{Type: webhook.TaskSucceeded, Timestamp: eventTime, Data: webhook.Task{
		ID: 1, TaskID: "t", Action: "videos", Action2: "text2video", Status: "succeeded", Metadata: json.RawMessage("{}"), Sequence: 3,
		Outputs: []webhook.Output{{Kind: "video", URL: "https://cdn.example/o.mp4", DurationSeconds: &seconds, ExpiresAt: &eventTime}}, CreatedAt: eventTime, FinishedAt: &eventTime,
	}}
}

func marshal(t interface{ Fatal(...any) }, value any) string {
	body, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestTypesAreThoseThatCanBeAskedFor(t *testing.T) {
	t.Parallel()
	if n := len(webhook.Types); webhook.Types[n-2] != webhook.EndpointFailing || webhook.Types[n-1] != webhook.EndpointDisabled || slices.Contains(webhook.Types, webhook.Test) {
		t.Errorf("%q", webhook.Types)
	}
	for _, terminal := range webhook.TerminalTypes {
		if !slices.Contains(webhook.Types, terminal) || !strings.HasPrefix(terminal, "task.") {
			t.Errorf("terminal, but not a type of tasks: %s", terminal)
		}
	}
}

// Events of before there were relays do not name it.
func TestAThinEventOfBeforeNamesTheDefaultRelay(t *testing.T) {
	t.Parallel()
	thin, err := webhook.Thin([]byte(`{"type":"task.failed","timestamp":"2026-11-23T01:02:03Z","data":{"id":1,"task_id":"t","action":"videos","action2":"text2video","status":"failed","sequence":1}}`))
	if err != nil || !strings.Contains(string(thin), `"relay":"default"`) {
		t.Errorf("%s, %v", thin, err)
	}
}

func TestAThinEventAgreesWithTheFullOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		full := succeeded()
		full.Type = rapid.SampledFrom(webhook.Types[:7]).Draw(t, "type")
		full.Data.ID, full.Data.Sequence = rapid.Int64().Draw(t, "id"), rapid.Int().Draw(t, "sequence")
		full.Data.TaskID, full.Data.Status = rapid.String().Draw(t, "task_id"), rapid.String().Draw(t, "status")
		full.Data.Relay = rapid.String().Draw(t, "relay")
		full.Data.EndedBy = rapid.Ptr(rapid.String(), true).Draw(t, "ended_by")
		full.Data.ExternalID = rapid.Ptr(rapid.String(), true).Draw(t, "external_id")
		thin, err := webhook.Thin([]byte(marshal(t, full)))
		if err != nil {
			t.Fatal(err)
		}
		var got webhook.Event
		if err := json.Unmarshal(thin, &got); err != nil {
			t.Fatal(err)
		}
		want := webhook.Event{Type: full.Type, Timestamp: full.Timestamp, Data: webhook.Task{
			ID: full.Data.ID, TaskID: full.Data.TaskID, Relay: full.Data.Relay, Action: full.Data.Action, Action2: full.Data.Action2,
			Status: full.Data.Status, EndedBy: full.Data.EndedBy, ExternalID: full.Data.ExternalID, Sequence: full.Data.Sequence,
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if again, err := webhook.Thin(thin); err != nil || string(again) != string(thin) {
			t.Fatalf("thinned twice: %s, %v", again, err)
		}
	})
}

func TestOtherEventsAreNotThinned(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"type":"endpoint.disabled","timestamp":"2026-11-23T01:02:03Z","data":{"id":2,"url":"https://h"}}`,
		`{ "type": "webhook-test", "timestamp": "2026-11-23T01:02:03Z", "data": {} }`,
	} {
		if got, err := webhook.Thin([]byte(body)); err != nil || string(got) != body {
			t.Errorf("%s became %s, %v", body, got, err)
		}
	}
	for _, body := range []string{"", "[]", `{"type":"task.failed","timestamp":"now"}`, `{"type":"task.failed","timestamp":"2026-11-23T01:02:03Z","data":[]}`} {
		if got, err := webhook.Thin([]byte(body)); err == nil {
			t.Errorf("%q became %s", body, got)
		}
	}
}
