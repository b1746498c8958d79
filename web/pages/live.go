package pages

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/feed"
	"github.com/klingwatch/klingwatch/web/callers"
)

const (
	// pause is the least time between two messages of a stream: what comes meanwhile is
	// told at once, since a message tells states and not events.
	pause = 250 * time.Millisecond
	// heartbeat shows that a stream is alive where nothing changes.
	heartbeat = 15 * time.Second
	// liveWrite is how long a browser may take for a message.
	liveWrite = 20 * time.Second
	// lookAgainAfter is when a look that failed is tried again.
	lookAgainAfter = 2 * time.Second
	// mostMissed is how many events a browser may have missed that are told one by one.
	mostMissed = 500
	// maxShown bounds how many rows a stream tells about.
	maxShown = 200
)

// liveView renders the parts of a page that are live, by the id of the element that
// holds them. changed are the tasks that something has happened to, none where it only is
// time to look again; nil: anything may have happened. again is when to look again although nothing is told: 0: never.
type liveView func(ctx context.Context, v *visit, changed []int64) (parts map[string]string, again time.Duration, err error)

// viewsOfAnApp are those that a key which is restricted to an app may follow: they show
// nothing of others.
var viewsOfAnApp = []string{"tasks", "task", "gallery", "action"}

// live tells a tab what has changed, as server-sent events: each a JSON object of HTML by
// the id of the element that it is the content of. Of the feed only what happens to the
// tasks in tasks is looked at, where there are any and not all is asked for.
func (p *Pages) live(v *visit) error {
	name := v.r.FormValue("view")
	view, known := p.views[name]
	switch {
	case !known:
		return &refusal{http.StatusNotFound, "error.not_found"}
	case v.app() != "" && !slices.Contains(viewsOfAnApp, name):
		return &refusal{http.StatusForbidden, "error.app"}
	}
	after, resumed := feed.Latest, false
	if id, err := strconv.ParseInt(cmp.Or(v.r.Header.Get("Last-Event-ID"), v.r.FormValue("after")), 10, 64); err == nil && id >= 0 {
		after, resumed = id, true
	}
	end, err := db.FeedEnd(v.r.Context(), p.Pool)
	if err != nil {
		return err
	}
	if end-after > mostMissed { // all that is shown is looked at instead
		after, resumed = feed.Latest, false
	}
	ctx, done, err := p.Callers.Hold(v.r.Context(), v.key.ID, callers.Stream)
	if errors.Is(err, callers.ErrTooMany) {
		return &refusal{http.StatusTooManyRequests, "error.too_many"}
	}
	if err != nil {
		return err
	}
	defer done()
	stream, err := p.follow(ctx, after, v.app())
	if err != nil {
		return err
	}
	defer func() { stream.Close() }()
	l := &liveStream{visit: v, view: view, out: http.NewResponseController(v.w), told: map[string]string{}}
	l.begin()
	var changed []int64
	if resumed && after == stream.Cursor() { // what has changed since is to come; what tells no event may have
		changed = []int64{}
	}
	err = l.tell(ctx, changed, stream.Cursor())
	for err == nil {
		err = l.step(ctx, stream)
	}
	return errAnswered // the browser comes back with its cursor
}

// follow begins at the end where the events after a cursor are gone: all is told anew.
func (p *Pages) follow(ctx context.Context, after int64, app string) (*feed.Stream, error) {
	filter := db.FeedFilter{App: app}
	stream, err := p.Feed.Follow(ctx, after, filter)
	if _, gone := errors.AsType[*feed.CursorError](err); gone {
		stream, err = p.Feed.Follow(ctx, feed.Latest, filter)
	}
	if errors.Is(err, feed.ErrClosing) {
		return nil, &refusal{http.StatusServiceUnavailable, "error.unavailable"}
	}
	return stream, err
}

// liveStream is the stream of one tab.
type liveStream struct {
	*visit
	view liveView
	out  *http.ResponseController
	told map[string]string // the last content of each part
	// behind: the last look failed, so what has changed is not known any more, and the browser
	// is to come back with the cursor from before.
	behind bool
	again  time.Time // when to look although nothing is told; zero: never
	last   time.Time // when the last message was made
}

func (l *liveStream) begin() {
	h := l.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would keep messages back
	_ = l.write("retry: 2000\n\n")
}

// step waits for what happens next, and tells it.
func (l *liveStream) step(ctx context.Context, stream *feed.Stream) error {
	patience, look := heartbeat, false
	if !l.again.IsZero() {
		patience, look = max(time.Until(l.again), pause), true
	}
	frames, err := stream.Next(ctx, patience)
	if err != nil {
		return err
	}
	if len(frames) == 0 && !look {
		return l.write(fmt.Sprintf("id: %d\n: alive\n\n", stream.Cursor()))
	}
	if wait := pause - time.Since(l.last); wait > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		more, err := stream.Next(ctx, time.Millisecond)
		if err != nil {
			return err
		}
		frames = append(frames, more...)
	}
	changed := tasksIn(frames)
	if l.behind {
		changed = nil
	}
	return l.tell(ctx, changed, stream.Cursor())
}

// tasksIn are the tasks that frames are about, each once; not nil.
func tasksIn(frames []*feed.Frame) []int64 {
	tasks := make([]int64, 0, len(frames))
	for _, f := range frames {
		tasks = append(tasks, f.Task)
	}
	slices.Sort(tasks)
	return slices.Compact(tasks)
}

// tell sends those parts of the view that are not as they were told last.
func (l *liveStream) tell(ctx context.Context, changed []int64, cursor int64) error {
	l.last = time.Now()
	looking, cancel := context.WithTimeout(ctx, pageLimit)
	defer cancel()
	parts, again, err := l.view(looking, l.visit, changed)
	if err != nil { // an outage ends no stream
		if !l.behind {
			l.Log.Warn("a live page cannot be brought up to date; it is tried again", "error", err)
		}
		l.behind, l.again = true, time.Now().Add(lookAgainAfter)
		return l.write(": behind\n\n")
	}
	l.behind, l.again = false, time.Time{}
	if again > 0 {
		l.again = time.Now().Add(again)
	}
	for id, content := range parts {
		if was, known := l.told[id]; known && was == content {
			delete(parts, id)
		}
		l.told[id] = content
	}
	if len(parts) == 0 {
		return l.write(fmt.Sprintf("id: %d\n: same\n\n", cursor))
	}
	text, err := json.Marshal(parts)
	if err != nil {
		return err
	}
	return l.write(fmt.Sprintf("id: %d\ndata: %s\n\n", cursor, text))
}

func (l *liveStream) write(text string) error {
	_ = l.out.SetWriteDeadline(time.Now().Add(liveWrite))
	if _, err := l.w.Write([]byte(text)); err != nil {
		return err
	}
	return l.out.Flush()
}

// shownIDs are the ids that a stream is asked about.
func (v *visit) shownIDs() (ids []int64) {
	for _, text := range strings.Split(v.r.FormValue("ids"), ",") {
		if id, err := strconv.ParseInt(text, 10, 64); err == nil && len(ids) < maxShown {
			ids = append(ids, id)
		}
	}
	return ids
}

// rowsLive are the parameters of the stream of a list, beside its filter: the rows that it
// shows, and on its first part also what counts new ones.
func rowsLive[T any](query url.Values, rows []T, id func(T) int64, first bool) url.Values {
	ids, newest := make([]string, len(rows)), "0"
	for i, row := range rows {
		ids[i] = strconv.FormatInt(id(row), 10)
	}
	query.Set("ids", strings.Join(ids, ","))
	if first {
		if len(ids) > 0 {
			newest = ids[0]
		}
		query.Set("above", newest)
	}
	return query
}

// tellNew tells how many rows of a list are new. Where counting took too long, what was
// told stays.
func (v *visit) tellNew(parts map[string]string, list string, n db.Count, filter url.Values) (err error) {
	if n.N == 0 && !n.Exact {
		return nil
	}
	parts["new"], err = part(v.lang, list, "new", map[string]any{"N": n.N, "More": !n.Exact, "Address": address("/"+list, filter)})
	return err
}

// againWhile is when to look again at what tells no event.
func againWhile(underWay bool) time.Duration {
	if underWay {
		return time.Second
	}
	return 0
}

// among returns those of the shown that have changed; all where anything may have.
func among(shown, changed []int64) []int64 {
	if changed == nil {
		return shown
	}
	return slices.DeleteFunc(slices.Clone(shown), func(id int64) bool { return !slices.Contains(changed, id) })
}
