package feed

import (
	"context"
	"errors"
	"time"

	"github.com/klingwatch/klingwatch/db"
)

// Latest is the cursor after which all events are to come.
const Latest int64 = -1

// Stream is one client's way through the feed. It is for one goroutine.
type Stream struct {
	feed    *Feed
	filter  db.FeedFilter
	cursor  int64 // all up to it was handed out
	read    int64 // all up to it was read
	pending []*Frame
	atEnd   bool        // it has replayed all that there was
	sub     *subscriber // nil: it replays
	live    bool        // the subscriber has taken over from the replay
}

// Follow returns the events after a cursor that a filter chooses, those that are kept and
// then those that come. It returns a *CursorError where some after it are gone. ctx is for
// the beginning only, which waits for the database where the cursor is Latest.
func (f *Feed) Follow(ctx context.Context, after int64, filter db.FeedFilter) (*Stream, error) {
	s := &Stream{feed: f, filter: filter, cursor: after, read: after}
	if after != Latest {
		if err := s.replay(ctx); err != nil {
			return nil, err
		}
		return s, nil
	}
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	s.live, s.cursor, s.read = true, s.sub.from, s.sub.from
	return s, nil
}

// Cursor is where a client goes on that has got all that Next returned. It moves also when
// events pass that the filter does not choose.
func (s *Stream) Cursor() int64 { return s.cursor }

// Close ends the stream.
func (s *Stream) Close() {
	if s.sub != nil {
		s.feed.unsubscribe(s.sub)
	}
}

// Next returns the next frames, as soon as there is one, or none where nothing came for
// as long as patience: a moment to show that the connection lives. After an error a client
// goes on with a new stream from the cursor.
func (s *Stream) Next(ctx context.Context, patience time.Duration) (frames []*Frame, err error) {
	s.note(0)
	defer func() { s.note(time.Now().UnixNano()) }()
	begun := time.Now()
	for {
		if frames, s.pending, s.cursor = s.pending, nil, s.read; len(frames) > 0 {
			return frames, nil
		}
		if s.live {
			if frames, err = s.receive(ctx, patience); !errors.Is(err, errBehind) {
				return frames, err
			}
			s.sub, s.live, s.atEnd = nil, false, false
		}
		if err = s.advance(ctx); err != nil || len(s.pending) == 0 && !s.live && time.Since(begun) > patience {
			return nil, err
		}
	}
}

// note tells the one who sends since when the client takes nothing; 0: it waits.
func (s *Stream) note(since int64) {
	if s.sub != nil {
		s.sub.busy.Store(since)
	}
}

// advance takes one step from what is kept to what comes.
func (s *Stream) advance(ctx context.Context) error {
	if s.atEnd && s.sub == nil {
		if err := s.listen(ctx); err != nil {
			return err
		}
	}
	if err := s.replay(ctx); err != nil {
		return err
	}
	// what came meanwhile is with the subscriber; if it was too much, receive finds out
	s.live = s.atEnd && s.sub != nil
	return nil
}

func (s *Stream) listen(ctx context.Context) (err error) {
	s.sub, err = s.feed.subscribe(ctx, s.filter)
	return err
}

// replay reads the next page.
func (s *Stream) replay(ctx context.Context) error {
	page, err := s.feed.read(ctx, s.read, s.filter, pageSize)
	if err != nil {
		return err
	}
	s.pending = append(s.pending, page.frames...)
	s.read, s.atEnd = page.Read, !page.More
	return nil
}

// receive returns what comes live. What the replay has read already is left out.
func (s *Stream) receive(ctx context.Context, patience time.Duration) (frames []*Frame, err error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for len(frames) == 0 {
		select {
		case frame, open := <-s.sub.frames:
			if !open {
				return nil, s.sub.err
			}
			frames = s.take(frames, frame)
		case <-timer.C:
			s.pass()
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for range len(s.sub.frames) {
		frames = s.take(frames, <-s.sub.frames)
	}
	return frames, nil
}

func (s *Stream) take(frames []*Frame, frame *Frame) []*Frame {
	if frame.ID <= s.read {
		return frames
	}
	s.read, s.cursor = frame.ID, frame.ID
	return append(frames, frame)
}

// pass moves the cursor over events that were not chosen.
func (s *Stream) pass() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if _, listens := s.feed.streams[s.sub]; listens && len(s.sub.frames) == 0 {
		s.read = max(s.read, s.feed.position)
		s.cursor = s.read
	}
}

// Page returns the events after a cursor, at most limit of them, and the cursor of the next
// page; more says that it may have some. It returns a *CursorError where some are gone.
func (f *Feed) Page(ctx context.Context, after int64, filter db.FeedFilter, limit int) (frames []*Frame, next int64, more bool, err error) {
	page, err := f.read(ctx, after, filter, limit)
	if err != nil {
		return nil, 0, false, err
	}
	return page.frames, page.Read, page.More, nil
}
