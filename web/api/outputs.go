package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/callers"
	"github.com/klingwatch/klingwatch/web/content"
	"github.com/klingwatch/klingwatch/webhook"
)

func (a *API) registerOutputs() {
	register(a, operation{
		id: "list-outputs", method: http.MethodGet, path: "/v1/outputs", tag: "outputs", scope: db.ScopeRead,
		summary: "List files, those of the newest tasks first", description: "A part holds all files of its tasks: limit counts tasks.",
	}, a.listOutputs)
	register(a, a.fileOperation("get-content", "content", "Get the kept file",
		"Without its provider, for as long as it is kept. Range, If-Range, If-Match, If-None-Match and If-Modified-Since have the meaning of RFC 9110, and HEAD works. "+
			"Where the store has addresses of its own, the answer is a redirect to one that works for 5 minutes."), a.getContent)
	register(a, a.fileOperation("get-thumbnail", "thumbnail", "Get a small picture of the kept file", "A JPEG. Of images, and of videos where klingwatch finds ffmpeg."), a.getThumbnail)
}

// fileOperation describes an operation that answers with a file.
func (a *API) fileOperation(id, what, summary, description string) operation {
	anything := map[string]*huma.MediaType{"*/*": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
	text := func(of string) *huma.Param {
		return &huma.Param{Description: of, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	headers := map[string]*huma.Param{
		"ETag": text("The sha256 of the file, or made of it."), "Accept-Ranges": text("bytes"), "Content-Disposition": text("A name to save it under."),
		"Last-Modified": text("When it was stored."), "Cache-Control": text("private: it may be kept by whoever asked."),
	}
	return operation{
		id: id, method: http.MethodGet, path: "/v1/outputs/{task}/{kind}/{position}/" + what, tag: "outputs", scope: db.ScopeRead, byLink: true,
		summary: summary, description: description + " A link of klingwatch outputs link, with expires and signature, needs no key.",
		errors: []int{http.StatusNotFound, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable},
		responses: map[string]*huma.Response{
			"200": {Description: "The file.", Content: anything, Headers: headers},
			"206": {Description: "A part of it.", Content: anything, Headers: headers},
			"302": {Description: "It is at the store; without a body.", Headers: map[string]*huma.Param{"Location": text("An address that works for 5 minutes.")}},
			"304": {Description: "It is still that of If-None-Match; without a body.", Headers: map[string]*huma.Param{"ETag": headers["ETag"]}},
		},
	}
}

type fileInput struct {
	Task      int64  `path:"task" minimum:"1" doc:"tasks.id"`
	Kind      string `path:"kind" enum:"image,video,audio" doc:"What it is."`
	Position  int32  `path:"position" minimum:"0" doc:"From 0, among those of its kind."`
	Download  bool   `query:"download" doc:"A browser saves the file instead of showing it."`
	Expires   int64  `query:"expires" doc:"Of a signed link."`
	Signature string `query:"signature" maxLength:"100" doc:"Of a signed link."`
	Range     string `header:"Range" doc:"Like bytes=0-999: only this part."`
	IfRange   string `header:"If-Range" doc:"The ETag of an answer: the part only of that file, else the whole."`
	Known     string `header:"If-None-Match" doc:"The ETag of an answer: 304 when the file is still that."`
}

func (a *API) getContent(ctx context.Context, in *fileInput) (*huma.StreamResponse, error) {
	o, err := a.keptOutput(ctx, in)
	if err != nil {
		return nil, err
	}
	return a.serveFile(ctx, in, o, content.File{
		Key: *o.ArchiveKey, Size: *o.Bytes, ETag: *o.SHA256, ContentType: deref(o.ContentType, "application/octet-stream"), Name: operate.FileName(o),
	})
}

func (a *API) getThumbnail(ctx context.Context, in *fileInput) (*huma.StreamResponse, error) {
	o, err := a.keptOutput(ctx, in)
	if err != nil {
		return nil, err
	}
	if o.ThumbnailKey == nil {
		return nil, problem(noThumbnail, "")
	}
	return a.serveFile(ctx, in, o, content.File{
		Key: *o.ThumbnailKey, ETag: *o.SHA256 + "-thumbnail", ContentType: "image/jpeg", Name: operate.ThumbnailName(o),
	})
}

// keptOutput returns an output whose file is kept, of those that the caller meets.
func (a *API) keptOutput(ctx context.Context, in *fileInput) (db.ListedOutput, error) {
	o, err := db.GetOutput(ctx, a.Pool, in.Task, in.Kind, int(in.Position))
	if app := appOf(ctx); errors.Is(err, db.ErrNotFound) || err == nil && app != "" && o.App != app {
		return o, problem(notFound, "")
	}
	if err != nil {
		return o, fmt.Errorf("reading an output: %w", err)
	}
	if a.Archive == nil {
		return o, problem(archiveOff, "")
	}
	switch deref(o.ArchiveState, "") {
	case db.ArchiveStored:
		return o, nil
	case db.ArchivePending:
		return o, problem(filePending, "").retryAfter(retryPending)
	case db.ArchiveLost:
		return o, problem(fileLost, "")
	case db.ArchiveSkipped:
		return o, problem(fileSkipped, "")
	}
	return o, problem(fileNotKept, "")
}

const (
	// retryPending is when to ask again for a file that is being fetched.
	retryPending = 5 * time.Second
	// freshFile is for how long a browser may show a file again without asking. It is not
	// for ever: a task that is asked about again may get other files.
	freshFile = time.Hour
)

// serveFile answers with a file, until the client leaves or its key is refused.
func (a *API) serveFile(ctx context.Context, in *fileInput, o db.ListedOutput, f content.File) (*huma.StreamResponse, error) {
	f.Download, f.StoredAt, f.Fresh = in.Download, *o.ArchivedAt, freshFile
	caller := callerOf(ctx).ID
	if until, ok := linkOf(ctx); ok {
		caller, f.Fresh = webhook.ContentPath(o.Task, o.Kind, o.Position), min(freshFile, time.Until(until))
	}
	ctx, done, err := a.hold(ctx, caller, callers.File)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer done()
		r, w := humago.Unwrap(hc)
		if err := content.Serve(ctx, w, r, a.Archive, f); err != nil {
			a.failFile(w, r, err)
		}
	}}, nil
}

// failFile tells why a file was not served; where the answer has begun, only the log.
func (a *API) failFile(w http.ResponseWriter, r *http.Request, err error) {
	_, begun := errors.AsType[content.Broken](err)
	switch {
	case errors.Is(err, content.ErrRange):
		a.fail(w, r, problem(noSuchRange, ""))
	case errors.Is(err, content.ErrPrecondition):
		a.fail(w, r, problem(preconditionFailed, ""))
	case r.Context().Err() != nil: // nobody is there any more
	case begun:
		a.Log.Error("a kept file was served in part", "error", err, "request_id", requestID(r.Context()))
	case errors.Is(err, archive.ErrNotFound), errors.Is(err, content.ErrAltered):
		a.Log.Error("a kept file is missing", "error", err, "request_id", requestID(r.Context()))
		a.fail(w, r, problem(fileMissing, ""))
	default:
		a.Log.Warn("a request failed because of the archive", "error", err, "request_id", requestID(r.Context()))
		a.fail(w, r, problem(archiveUnavailable, "").retryAfter(retryOutage))
	}
}

// deref is what p points to, or another value where there is nothing.
func deref[T any](p *T, other T) T {
	if p == nil {
		return other
	}
	return *p
}

// ListedOutput is a file with its task.
type ListedOutput struct {
	Output
	Task       int64     `json:"task" doc:"tasks.id"`
	Relay      string    `json:"relay" doc:"Of the task, as the following."`
	App        string    `json:"app"`
	TaskID     string    `json:"task_id"`
	Action     string    `json:"action"`
	Action2    string    `json:"action2"`
	ExternalID *string   `json:"external_id"`
	CreatedAt  time.Time `json:"created_at" doc:"When the task was tracked."`
}

func (a *API) listedOutputOf(o db.ListedOutput) ListedOutput {
	return ListedOutput{a.outputOf(o.Output), o.Task, o.Relay, o.App, o.TaskID, o.Action, o.Action2, o.ExternalID, o.CreatedAt}
}

// OutputFilter are the parameters that choose files.
type OutputFilter struct {
	Kind          string    `query:"kind" enum:"image,video,audio" doc:"Of this kind."`
	ExpiresBefore time.Time `query:"expires_before" doc:"Whose URL stops working before, and works still."`
	ArchiveState  string    `query:"archive_state" enum:"pending,stored,lost,skipped,none" doc:"Whose file is in this state; none: it was not asked for."`
	Action        string    `query:"action" maxLength:"64" doc:"Of tasks of this action."`
	Relay         string    `query:"relay" maxLength:"64" doc:"Of tasks at this relay."`
	App           string    `query:"app" maxLength:"63" doc:"Of tasks of this app."`
	ExternalID    string    `query:"external_id" maxLength:"255" doc:"Of tasks with this reference of the caller's."`
	CreatedAfter  time.Time `query:"created_after" doc:"Of tasks that were tracked then or later."`
	CreatedBefore time.Time `query:"created_before" doc:"Of tasks that were tracked before."`
}

type listOutputsInput struct {
	PageInput
	OutputFilter
}

func (a *API) listOutputs(ctx context.Context, in *listOutputsInput) (*listOutput[ListedOutput], error) {
	f := in.OutputFilter
	tasks, err := TaskFilter{
		Action: f.Action, Relay: f.Relay, App: f.App, ExternalID: f.ExternalID, CreatedAfter: f.CreatedAfter, CreatedBefore: f.CreatedBefore,
	}.choice(ctx)
	if err != nil {
		return nil, err
	}
	search, err := in.search(f)
	if err != nil {
		return nil, err
	}
	page, err := db.ListOutputs(ctx, a.Pool, db.OutputChoice{Kind: f.Kind, Archive: f.ArchiveState, Expiring: f.ExpiresBefore, Tasks: tasks}, search)
	if err != nil {
		return nil, fmt.Errorf("reading the outputs: %w", err)
	}
	return listOf(in.PageInput, f, page, a.listedOutputOf), nil
}
