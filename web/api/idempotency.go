package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/klingwatch/klingwatch/db"
)

// requestPatience is how long a request under way may take; after that, its process has died.
const requestPatience = 2 * time.Minute

// maxIdempotencyKey is the longest key, in characters.
const maxIdempotencyKey = 255

var idempotencyParameter = &huma.Param{
	Name: "Idempotency-Key", In: "header",
	Description: "Any text that is new for each new request. The same request with the same key, within a day, is done once and gets the same answer.",
	Schema:      &huma.Schema{Type: huma.TypeString, MinLength: new(1), MaxLength: new(maxIdempotencyKey)},
}

// repeat gives a request with an Idempotency-Key that was answered before the same answer.
func (a *API) repeat(ctx huma.Context, next func(huma.Context)) {
	key := ctx.Header("Idempotency-Key")
	if key == "" {
		next(ctx)
		return
	}
	r, w := humago.Unwrap(ctx)
	if len(key) > maxIdempotencyKey {
		writeProblem(w, problem(invalid, "").at("header.Idempotency-Key", "must have at most 255 characters"))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ctx.Operation().MaxBodyBytes))
	if err != nil {
		writeProblem(w, problem(tooLarge, ""))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	fingerprint := sha256.Sum256([]byte(r.Method + " " + r.URL.RequestURI() + "\n" + string(body)))
	caller := callerOf(ctx.Context()).ID
	known, err := db.BeginRequest(r.Context(), a.Pool, caller, key, fingerprint[:], requestPatience)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	switch {
	case known.First:
		a.answerAndKeep(ctx, next, caller, key)
	case !bytes.Equal(known.Fingerprint, fingerprint[:]):
		writeProblem(w, problem(reused, ""))
	case known.Status == nil:
		writeProblem(w, problem(inProgress, "").retryAfter(time.Second))
	default:
		a.replay(w, r, known)
	}
}

// answerAndKeep answers the first request with a key, and keeps the answer; after a
// failure of ours the request may be made again.
func (a *API) answerAndKeep(ctx huma.Context, next func(huma.Context), caller, key string) {
	r, w := humago.Unwrap(ctx)
	recorder := &recorder{ResponseWriter: w, status: http.StatusOK}
	next(humago.NewContext(ctx.Operation(), r.WithContext(ctx.Context()), recorder))
	kept := context.WithoutCancel(r.Context()) // the caller may have gone: what is done is done
	if recorder.status >= http.StatusInternalServerError {
		_ = db.ForgetRequest(kept, a.Pool, caller, key)
		return
	}
	answer, _ := json.Marshal(keptAnswer{recorder.Header().Get("Content-Type"), recorder.body.String()})
	if err := db.FinishRequest(kept, a.Pool, caller, key, recorder.status, a.Keyring.Seal(string(answer))); err != nil {
		a.Log.Warn("the answer of a request could not be kept", "error", err, "request_id", requestID(kept))
	}
}

// keptAnswer is what is kept of an answer.
type keptAnswer struct {
	ContentType string `json:"content_type"`
	Body        string `json:"body"`
}

// replay repeats an answer.
func (a *API) replay(w http.ResponseWriter, r *http.Request, known db.Answered) {
	var answer keptAnswer
	text, err := a.Keyring.Open(*known.Answer)
	if err == nil {
		err = json.Unmarshal([]byte(text), &answer)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	w.Header().Set("Idempotent-Replayed", "true")
	if answer.ContentType != "" {
		w.Header().Set("Content-Type", answer.ContentType)
	}
	w.WriteHeader(*known.Status)
	_, _ = io.WriteString(w, answer.Body)
}

// recorder passes an answer on and keeps it.
type recorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

// WriteHeader notes the status.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Write notes the body.
func (r *recorder) Write(p []byte) (int, error) {
	r.body.Write(p)
	return r.ResponseWriter.Write(p)
}
