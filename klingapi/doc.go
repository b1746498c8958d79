// Package klingapi asks a Kling relay, or Kling itself, about one generation
// task. It is a pure client: it knows nothing of databases or queues.
//
//	client, err := klingapi.New(klingapi.Config{BaseURL: "https://relay.example", Credential: klingapi.StaticKey("sk-...")})
//	defer client.Close()
//	reply, err := client.GetTask(ctx, klingapi.Ref{Action: "videos", Action2: "text2video", TaskID: id})
//	if apiErr, ok := errors.AsType[*klingapi.Error](err); ok {
//		// apiErr.Kind says what to do, apiErr.RetryAfter how long the relay wants us to wait
//	}
//	if reply.Record.Status.Ended() {
//		// reply.Record.Outputs, or reply.Record.Message of a failure
//	}
//
// GetTask returns a Reply when the relay says something about the task, also when
// its status word is unknown. Everything else is an *Error with a Kind. Texts of
// the relay are short, safe lines, except the stored Body. The order of judgement: transport, then JSON, then
// a record with a known status (it beats HTTP status and code), then the
// body's code, then the HTTP status.
//
// Decoding is tolerant: official replies, the new-api wrapper (nested too) and
// the flat shapes of other relays are understood, numbers may be strings and
// the other way round. Judgement is strict: only a word of the closed table in
// status.go ends a task.
package klingapi
