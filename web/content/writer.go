package content

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// part is how much is handed over at once, and partTime bounds that: a client that
	// takes less than 4 kB a second, or is dead, does not hold a file for ever.
	part     = 256 << 10
	partTime = time.Minute
)

// writer hands a file over in parts, each within its time, and keeps back answers that
// refuse, for problems are told otherwise.
type writer struct {
	http.ResponseWriter
	ctx     context.Context
	out     *http.ResponseController
	time    time.Duration
	refused int   // a status from 400 on
	err     error // why the file was not handed over whole
}

func newWriter(ctx context.Context, w http.ResponseWriter, perPart time.Duration) *writer {
	return &writer{ResponseWriter: w, ctx: ctx, out: http.NewResponseController(w), time: perPart}
}

// WriteHeader keeps a refusal back.
func (w *writer) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		w.refused = status
		forget(w.Header())
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write writes what is no file: the text of a refusal, which nobody gets.
func (w *writer) Write(p []byte) (int, error) {
	if w.refused > 0 {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom hands a file over; the system sends it by itself where it is on a disk.
func (w *writer) ReadFrom(file io.Reader) (written int64, err error) {
	rest, ok := file.(*io.LimitedReader)
	if !ok {
		return io.Copy(w.ResponseWriter, file)
	}
	for rest.N > 0 && err == nil {
		if err = w.begin(); err != nil {
			break
		}
		var n int64
		n, err = io.Copy(w.ResponseWriter, &io.LimitedReader{R: rest.R, N: min(rest.N, part)})
		written, rest.N = written+n, rest.N-n
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
	}
	w.err = err
	return written, err
}

// begin gives the next part its time, unless the request is over.
func (w *writer) begin() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if err := w.out.SetWriteDeadline(time.Now().Add(w.time)); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// end hands over what is left in memory, within the time of the last part, and lifts that
// from the connection. It returns Broken where the store is why the answer is not whole.
func (w *writer) end() error {
	_ = w.out.Flush()
	_ = w.out.SetWriteDeadline(time.Time{})
	if _, client := errors.AsType[*net.OpError](w.err); w.err == nil || client || w.ctx.Err() != nil {
		return nil
	}
	return Broken{w.err}
}
