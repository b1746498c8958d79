package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// Problem is the body of every error: RFC 9457. It never repeats a value of the request.
type Problem struct {
	Type   string       `json:"type" format:"uri-reference" doc:"Which problem it is; the address of its page here. It never changes." example:"/docs/problems/not-found"`
	Title  string       `json:"title" doc:"The same in words."`
	Status int          `json:"status" doc:"HTTP status."`
	Detail string       `json:"detail,omitempty" doc:"What is wrong here, and what to try."`
	Errors []FieldError `json:"errors,omitempty" nullable:"false" doc:"What is wrong with the request, by place."`
	Oldest *int64       `json:"oldest,omitempty" doc:"Of the problem cursor-expired: the oldest id that there is."`

	header http.Header
}

// FieldError says what is wrong with a part of a request.
type FieldError struct {
	Location string `json:"location" doc:"The place, like body.callback_url or query.limit."`
	Message  string `json:"message" doc:"What is demanded there."`
}

// Error is the title and the detail.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders are headers that belong to the problem.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType is that of problems.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// notModified answers that the caller knows the state already.
type notModified struct{ etag string }

func (notModified) Error() string { return "not modified" }

// GetStatus is 304.
func (notModified) GetStatus() int { return http.StatusNotModified }

// GetHeaders repeats the ETag.
func (n notModified) GetHeaders() http.Header { return http.Header{"Etag": {n.etag}} }

// kind is a kind of problem: the last part of its type.
type kind string

// The kinds. Kinds has their statuses and pages.
const (
	badRequest         kind = "bad-request"
	unauthorized       kind = "unauthorized"
	scopeMissing       kind = "scope-missing"
	appRestricted      kind = "app-restricted"
	notFound           kind = "not-found"
	methodNotAllowed   kind = "method-not-allowed"
	notAcceptable      kind = "not-acceptable"
	timedOut           kind = "request-timeout"
	ambiguous          kind = "ambiguous"
	conflict           kind = "conflict"
	differs            kind = "tracked-differently"
	inProgress         kind = "idempotency-key-in-use"
	reused             kind = "idempotency-key-reused"
	cursorExpired      kind = "cursor-expired"
	cursorMismatch     kind = "cursor-mismatch"
	tooLarge           kind = "body-too-large"
	unsupportedMedia   kind = "unsupported-media-type"
	invalid            kind = "invalid-request"
	countChanged       kind = "count-changed"
	tooManyRequests    kind = "too-many-requests"
	tooManyConnections kind = "too-many-connections"
	fileNotKept        kind = "file-not-kept"
	filePending        kind = "file-pending"
	fileLost           kind = "file-lost"
	fileSkipped        kind = "file-skipped"
	fileMissing        kind = "file-missing"
	noThumbnail        kind = "no-thumbnail"
	archiveOff         kind = "archive-off"
	archiveUnavailable kind = "archive-unavailable"
	linkExpired        kind = "link-expired"
	linkInvalid        kind = "link-invalid"
	preconditionFailed kind = "precondition-failed"
	noSuchRange        kind = "range-not-satisfiable"
	internal           kind = "internal-error"
	unavailable        kind = "unavailable"
)

// KindOfProblem is what people read about a kind of problem.
type KindOfProblem struct {
	Name   string // the last part of its type
	Status int
	Title  string
	Help   string // why it happens, and what to do
}

// Kinds are all kinds of problems.
var Kinds = []KindOfProblem{
	{string(badRequest), 400, "The request cannot be read", "The body is not JSON, or the request is malformed. Nothing was done."},
	{string(unauthorized), 401, "A valid API key is needed", "Send a key as \"Authorization: Bearer kw_...\". The operator makes one: klingwatch api-keys add NAME --scope read. A key that is revoked or has expired is refused as well."},
	{string(scopeMissing), 403, "The API key lacks the scope", "The key may do less than this needs: read looks, write acts, admin administers. The detail names the scope. Ask the operator for another key."},
	{string(appRestricted), 403, "The API key is restricted to an app", "This concerns all apps. Use a key without --app."},
	{string(linkExpired), 403, "The link has expired", "The detail says until when it worked. Ask whoever gave it to you for a new one: klingwatch outputs link."},
	{string(linkInvalid), 403, "The link is not valid", "It was cut or changed on its way, or comes from another klingwatch. Use it exactly as it was given to you."},
	{string(fileNotKept), 404, "The file is not kept here", "It was not asked for, or was kept as long as the operator wants. As long as the provider has it, it is at the url of the output."},
	{string(filePending), 404, "The file is not here yet", "It is being fetched. Ask again after as many seconds as Retry-After says, or wait for the event task.archived. Meanwhile it is at the url of the output."},
	{string(fileLost), 404, "The file could not be had in time", "The archive_error of the output says why. Its url may still work."},
	{string(fileSkipped), 404, "The file is larger than what is kept", "As long as the provider has it, it is at the url of the output."},
	{string(fileMissing), 404, "The archive has lost the file", "It was stored, and somebody removed or changed it in the archive since. The operator finds it in the log by the X-Request-Id of the answer."},
	{string(noThumbnail), 404, "The file has no thumbnail", "Sound has none, and videos have one only where klingwatch finds ffmpeg."},
	{string(archiveOff), 404, "This klingwatch keeps no files", "The operator sets KLINGWATCH_ARCHIVE to have files kept. As long as the provider has it, the file is at the url of the output."},
	{string(notFound), 404, "There is no such thing", "There is nothing with this id or name, or the key may not meet it."},
	{string(notAcceptable), 406, "The answer cannot be had in that form", "Send Accept: application/json, or leave it out."},
	{string(methodNotAllowed), 405, "This address does not take that method", "The header Allow lists those that it takes."},
	{string(timedOut), 408, "The body of the request did not come in time", "Send it again."},
	{string(ambiguous), 409, "Several things have that name", "Say more, such as action and action2, or use our id."},
	{string(conflict), 409, "Its state does not allow that", "The detail says why. Nothing was done."},
	{string(differs), 409, "This task is tracked already, with other values", "A task is one and the same by relay, action, action2 and task_id. It is there with another external_id, callback_url or metadata, or belongs to another app. Nothing of the request was done."},
	{string(inProgress), 409, "A request with this Idempotency-Key is under way", "Wait for its answer, then repeat the request to have the same one."},
	{string(reused), 422, "This Idempotency-Key was sent with another request", "Use a new one for each new request."},
	{string(countChanged), 409, "What the filter chooses has changed", "The number is not the expected one any more. Ask for a dry run again."},
	{string(cursorExpired), 410, "Events after this id are deleted", "The cursor is older than what is kept. Go on from the oldest id that there is, and read the state of tasks from /v1/tasks."},
	{string(cursorMismatch), 422, "The cursor belongs to another list", "A cursor goes with the filters that it came from. Begin without one."},
	{string(preconditionFailed), 412, "The file is another one", "It is not the one that If-Match or If-Unmodified-Since names. Get it from its beginning."},
	{string(noSuchRange), 416, "The file has no such part", "Content-Range tells its size."},
	{string(tooLarge), 413, "The body is too large", "Send fewer tasks at once, or shorter values."},
	{string(unsupportedMedia), 415, "The body is not JSON", "Send it with Content-Type: application/json."},
	{string(invalid), 422, "The request is not valid", "The list errors says what is wrong where. Nothing was done."},
	{string(tooManyRequests), 429, "Too many requests with this key", "Wait as long as Retry-After says, in seconds."},
	{string(tooManyConnections), 429, "Too many streams, waiting requests or downloads with this key or link", "Close some, or use one stream for all tasks: GET /v1/events."},
	{string(internal), 500, "klingwatch failed", "This is a fault of klingwatch. The operator finds it in the log by the X-Request-Id of the answer."},
	{string(archiveUnavailable), 503, "The archive does not answer", "Send the request again after as many seconds as Retry-After says. klingwatch doctor tells the operator what is wrong."},
	{string(unavailable), 503, "The database does not answer, or takes no writes", "Send the request again after as many seconds as Retry-After says."},
}

// problemsAt is where the pages of problems are.
const problemsAt = "/docs/problems/"

// problem makes a problem; "" is no detail.
func problem(k kind, detail string) *Problem {
	for _, known := range Kinds {
		if known.Name == string(k) {
			return &Problem{Type: problemsAt + known.Name, Title: known.Title, Status: known.Status, Detail: detail}
		}
	}
	panic("a problem of no kind: " + string(k))
}

// with adds a header.
func (p *Problem) with(name, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

// retryAfter tells when to try again.
func (p *Problem) retryAfter(wait time.Duration) *Problem {
	return p.with("Retry-After", strconv.Itoa(max(1, int((wait+time.Second-1)/time.Second))))
}

// at names the place of what is wrong.
func (p *Problem) at(location, message string) *Problem {
	p.Errors = append(p.Errors, FieldError{location, message})
	return p
}

// writeProblem answers outside of an operation.
func writeProblem(w http.ResponseWriter, p *Problem) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// WriteFailure answers that klingwatch failed; the log tells why.
func WriteFailure(w http.ResponseWriter) { writeProblem(w, problem(internal, "")) }

// retryOutage is when to try again while the database is in trouble.
const retryOutage = 5 * time.Second

// problemOf turns the error of an operation into a problem. What klingwatch did not
// expect is logged, and not told.
func (a *API) problemOf(ctx context.Context, err error) error {
	if known, ok := errors.AsType[huma.StatusError](err); ok {
		return known.(error)
	}
	if refused, ok := errors.AsType[*operate.Error](err); ok {
		return problemOfRefusal(refused)
	}
	if ctx.Err() != nil {
		return problem(unavailable, "The request was given up.").retryAfter(time.Second)
	}
	if outage := db.OutageOf(err); outage != db.NoOutage || db.RowLocked(err) {
		a.Log.Warn("a request failed because of the database", "error", err, "request_id", requestID(ctx))
		return problem(unavailable, "").retryAfter(retryOutage)
	}
	if db.RefusedValue(err) { // such as a text with the character NUL
		return problem(invalid, "").at("request", refusedValue(err))
	}
	a.Log.Error("a request failed", "error", err, "request_id", requestID(ctx))
	return problem(internal, "")
}

// fail answers with the problem of an error, outside of an operation.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	p, ok := errors.AsType[*Problem](a.problemOf(r.Context(), err))
	if !ok {
		p = problem(internal, "")
	}
	writeProblem(w, p)
}

// refusedValue tells why the database does not take a value.
func refusedValue(err error) string {
	if rule := operate.RuleOf(err); rule != "" {
		return rule
	}
	return "a value that the database does not take"
}

// problemOfRefusal tells an answer "no" without what was asked.
func problemOfRefusal(refused *operate.Error) *Problem {
	switch refused.Code {
	case operate.NotFound:
		return problem(notFound, "")
	case operate.Ambiguous:
		return problem(ambiguous, "")
	case operate.Changed:
		return problem(countChanged, "")
	case operate.Conflict:
		return problem(conflict, refused.Rule)
	}
	location, rule := "body", refused.Rule
	if refused.Field != "" {
		location += "." + cmp.Or(apiNames[refused.Field], refused.Field)
	}
	if rule == "" {
		rule = "is not valid"
	}
	return problem(invalid, "").at(location, rule)
}

// apiNames are the names of fields that the API calls otherwise than the command line.
var apiNames = map[string]string{"events": "event_types"}

// safeLocation is a place that holds nothing but names of ours.
var safeLocation = regexp.MustCompile(`^[a-z0-9_.\[\]-]{1,100}$`)

// Errors that huma makes. It is a variable of the library's, for all APIs of a process.
func init() {
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		p := problem(kindOf(status), "")
		if status == 0 { // huma asks for the type
			return p
		}
		for _, err := range errs {
			detailed, ok := err.(huma.ErrorDetailer)
			if !ok {
				continue
			}
			d := detailed.ErrorDetail() // its Value, the caller's, stays behind
			if !safeLocation.MatchString(d.Location) {
				d.Location = "a name that is not known"
			}
			rule, _, _ := strings.Cut(d.Message, ": ") // what comes after it was sent
			if rule == "unknown content type" {        // 422 where an operation checks its body itself
				return problem(unsupportedMedia, "")
			}
			_ = p.at(d.Location, rule)
		}
		return p
	}
	huma.NewErrorWithContext = func(_ huma.Context, status int, message string, errs ...error) huma.StatusError {
		return huma.NewError(status, message, errs...)
	}
}

// kindOf is the kind of an error that huma makes.
func kindOf(status int) kind {
	switch status {
	case 0, http.StatusUnprocessableEntity:
		return invalid
	case http.StatusBadRequest:
		return badRequest
	case http.StatusNotAcceptable:
		return notAcceptable
	case http.StatusRequestTimeout:
		return timedOut
	case http.StatusRequestEntityTooLarge:
		return tooLarge
	case http.StatusUnsupportedMediaType:
		return unsupportedMedia
	}
	return internal
}
