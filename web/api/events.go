package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/feed"
	"github.com/klingwatch/klingwatch/web/callers"
)

const (
	// heartbeat shows that a stream lives; proxies end what is silent for longer.
	heartbeat = 15 * time.Second
	// streamWrite bounds one write to a client, by at most half more: the deadline is not
	// set for each of thousands.
	streamWrite = 10 * time.Second
	// reconnect is when a client comes back, in milliseconds.
	reconnect = 2000
)

func (a *API) registerEvents() {
	page := huma.MediaType{Schema: &huma.Schema{
		Type: huma.TypeObject, Required: []string{"data", "next", "cursor"},
		Properties: map[string]*huma.Schema{
			"data":   {Type: huma.TypeArray, Items: a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Event](), true, "Event")},
			"next":   {Type: huma.TypeString, Nullable: true, Description: "after of the next part; null: these are all for now."},
			"cursor": {Type: huma.TypeInteger, Format: "int64", Description: "after of a later request: everything up to it is told, also what the filter left out."},
		},
	}}
	register(a, operation{
		id: "list-events", method: http.MethodGet, path: "/v1/events", tag: "events", scope: db.ScopeRead,
		summary: "Read the feed of events, or follow it",
		description: "Events in their exact order, oldest first: ids follow commits, so after = the last id misses none. As JSON a part of it. With Accept: text/event-stream first those after the cursor, " +
			"then each as it comes, with a comment every 15 seconds; a stream goes on after the header Last-Event-ID, or after, or else with what comes from now on. " +
			"410 tells the oldest id when those after the cursor are deleted.",
		errors: []int{http.StatusGone},
		responses: map[string]*huma.Response{"200": {Description: "A part of the feed, or a stream of it.", Content: map[string]*huma.MediaType{
			"application/json":  &page,
			"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString, Description: "Messages with id: the event's id, and data: the Event as JSON. There is no event: field."}},
		}}},
	}, a.listEvents)
}

// Event is an event of the feed: the body of the webhook, with its id and the webhook-id.
type Event struct {
	ID        int64     `json:"id" doc:"Place in the feed."`
	EventID   string    `json:"event_id" doc:"The webhook-id: the same on every way."`
	Type      string    `json:"type" doc:"Like task.succeeded."`
	Timestamp time.Time `json:"timestamp" doc:"When it happened."`
	Data      Object    `json:"data" doc:"The task, or the endpoint, as in the webhook."`
}

// eventOf shows an event of a task.
func eventOf(e db.Event) Event {
	var body struct {
		Timestamp time.Time       `json:"timestamp"`
		Data      json.RawMessage `json:"data"`
	}
	_ = json.Unmarshal(e.Payload, &body) // ours
	return Event{e.ID, e.EventID, e.Type, body.Timestamp, Object(body.Data)}
}

type eventsInput struct {
	After       int64    `query:"after" minimum:"-1" default:"-1" doc:"Events after this id; left out or -1: from the oldest that there is, or for a stream from now on."`
	Types       []string `query:"types" enum:"task.submitted,task.processing,task.succeeded,task.failed,task.expired,task.not_found,task.canceled,task.archived,task.archive_failed,endpoint.failing,endpoint.disabled" doc:"Of these types."`
	Task        int64    `query:"task" minimum:"1" doc:"About this task, by our id."`
	Limit       int      `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Most events of a part."`
	Accept      string   `header:"Accept" doc:"text/event-stream for a stream."`
	LastEventID string   `header:"Last-Event-ID" maxLength:"20" doc:"What a client of streams sends when it comes back."`
}

// cursor is where to begin; known is false where nothing is said.
func (in *eventsInput) cursor() (after int64, known bool, err error) {
	if in.LastEventID != "" {
		after, err := strconv.ParseInt(in.LastEventID, 10, 64)
		if err != nil || after < 0 {
			return 0, false, problem(invalid, "").at("header.Last-Event-ID", "must be the id of an event")
		}
		return after, true, nil
	}
	return max(in.After, 0), in.After >= 0, nil
}

func (a *API) listEvents(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	after, known, err := in.cursor()
	if err != nil {
		return nil, err
	}
	filter := db.FeedFilter{App: appOf(ctx), Types: in.Types, Task: in.Task}
	if strings.Contains(in.Accept, "text/event-stream") {
		if !known {
			after = feed.Latest
		}
		return a.stream(ctx, after, filter)
	}
	frames, next, more, err := a.Feed.Page(ctx, after, filter, in.Limit)
	if gone, ok := errors.AsType[*feed.CursorError](err); ok && !known {
		frames, next, more, err = a.Feed.Page(ctx, gone.Oldest, filter, in.Limit)
	}
	if err != nil {
		return nil, cursorProblem(err)
	}
	body, err := json.Marshal(eventsPage(frames, next, more))
	if err != nil {
		return nil, fmt.Errorf("encoding events: %w", err)
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", "application/json")
		_, _ = ctx.BodyWriter().Write(body)
	}}, nil
}

// eventsPage is a part of the feed.
func eventsPage(frames []*feed.Frame, next int64, more bool) any {
	page := struct {
		Data   []json.RawMessage `json:"data"`
		Next   *string           `json:"next"`
		Cursor int64             `json:"cursor"`
	}{[]json.RawMessage{}, nil, next}
	for _, f := range frames {
		page.Data = append(page.Data, f.JSON)
	}
	if more {
		page.Next = new(strconv.FormatInt(next, 10))
	}
	return page
}

// cursorProblem tells where to go on.
func cursorProblem(err error) error {
	gone, ok := errors.AsType[*feed.CursorError](err)
	switch {
	case errors.Is(err, feed.ErrClosing):
		return problem(unavailable, "This process stops; another one answers.").retryAfter(time.Second)
	case !ok:
		return err
	}
	p := problem(cursorExpired, "")
	p.Oldest = &gone.Oldest
	if gone.After > gone.Newest {
		p.Detail, p.Oldest = "No event has that id yet: the cursor is from another database, or this one has lost events.", &gone.Newest
	}
	return p
}

// stream follows the feed until the client leaves, its key is refused, or this process stops.
func (a *API) stream(ctx context.Context, after int64, filter db.FeedFilter) (*huma.StreamResponse, error) {
	ctx, done, err := a.hold(ctx, callerOf(ctx).ID, callers.Stream)
	if err != nil {
		return nil, err
	}
	s, err := a.Feed.Follow(ctx, after, filter)
	if err != nil {
		done()
		return nil, cursorProblem(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer done()
		defer s.Close()
		_, w := humago.Unwrap(hc)
		writeStream(ctx, w, s)
	}}, nil
}

// writeStream sends a stream as server-sent events.
func writeStream(ctx context.Context, w http.ResponseWriter, s *feed.Stream) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events back
	out := http.NewResponseController(w)
	var bounded time.Time // when the deadline was set
	send := func(parts ...[]byte) error {
		if now := time.Now(); now.Sub(bounded) > streamWrite/2 {
			_ = out.SetWriteDeadline(now.Add(3 * streamWrite / 2))
			bounded = now
		}
		for _, part := range parts {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		return out.Flush()
	}
	err := send(fmt.Appendf(nil, "retry: %d\n: klingwatch\n\n", reconnect))
	for err == nil {
		frames, nextErr := s.Next(ctx, heartbeat)
		if nextErr != nil {
			return // the client comes back with its cursor
		}
		if len(frames) == 0 {
			// an id without data moves the cursor of a client whose filter lets little pass
			err = send(fmt.Appendf(nil, "id: %d\n: alive\n\n", s.Cursor()))
			continue
		}
		parts := make([][]byte, len(frames))
		for i, f := range frames {
			parts[i] = f.SSE
		}
		err = send(parts...)
	}
}
