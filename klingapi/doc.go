// Package klingapi asks a Kling relay, or Kling itself, about generation tasks: about one,
// or about several in one request where the relay takes several ids.
// It is only a client: it uses neither a database nor a queue.
//
//	client, err := klingapi.New(klingapi.Config{BaseURL: "https://relay.example", Credential: klingapi.StaticKey("sk-...")})
//	defer client.Close()
//	reply, err := client.GetTask(ctx, klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: id})
//	if apiErr, ok := errors.AsType[*klingapi.Error](err); ok {
//		// apiErr.Kind says what to do, apiErr.RetryAfter how long the relay asks us to wait
//	}
//	if reply.Record.Status.Ended() {
//		// reply.Record.Outputs, or for a failure reply.Record.Message
//	}
//
// Where a relay answers about a task is a template, Config.TaskPath: most have
// /kling/v1/{action}/{action2}/{task_id}, Kling's new family /tasks?task_ids={task_ids},
// which takes several ids (GetTasks).
//
// GetTask returns a Reply when the answer describes the task, even if its status
// word is unknown; every other outcome is an *Error with a Kind. Texts from the
// relay are short, safe lines, except for the stored Body.
//
// An answer is judged in this order: the transport; whether it is JSON; a record
// with a known status, which counts more than HTTP status and code; the code in the
// body; the HTTP status.
//
// Decoding is tolerant: it understands official replies, the new-api wrapper
// (nested as well) and the shapes of other relays, strings for numbers and the
// reverse, and finds files wherever they stand. Judgement is strict: only a word of
// the closed table in reply.go ends a task, and a Record says where the answer may be
// about the request instead (Unsure, Bare).
package klingapi
