package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/operate"
)

// CallbackPattern is where Callbacks belongs in a http.ServeMux. Its path has a secret in
// it: whoever logs requests logs the pattern, or SafePath.
const CallbackPattern = "/v1/callbacks/{relay}/{token}"

const (
	// callbackPrefix is what all paths of CallbackPattern begin with.
	callbackPrefix = "/v1/callbacks/"
	// maxCallback is far more than a record has, in bytes.
	maxCallback = 1 << 20
	// callbackLimit bounds reading a body, and what the database takes for it, each.
	callbackLimit = 5 * time.Second
)

// Callbacks takes what relays post when the status of a task changes: POST with the record
// as the body. A callback only has the task asked about at once. Every answer is empty:
//
//	202  taken, also when no task has that id
//	401  the signature is wrong, or lacks where the relay has a secret
//	404  there is no such relay, or it has another token
//	405  not POST
//	413  the body is larger than 1 MiB, 408 it did not come within 5 s
//	429  the relay calls too often; Retry-After
//	503  the database is in trouble; Retry-After
func Callbacks(taken *operate.Callbacks, m *metrics.Callbacks, log *slog.Logger) http.Handler {
	return &callbacks{taken: taken, metrics: m, log: log, told: rate.Sometimes{Interval: time.Minute}}
}

type callbacks struct {
	taken   *operate.Callbacks
	metrics *metrics.Callbacks
	log     *slog.Logger
	told    rate.Sometimes // trouble in the log
}

// ServeHTTP takes one callback.
func (c *callbacks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	outcome, wait, err := c.take(w, r)
	c.metrics.CallbacksTaken.WithLabelValues(string(outcome)).Inc()
	if err != nil && r.Context().Err() == nil {
		c.told.Do(func() {
			c.log.Warn("a callback of a relay was not taken; polls go on. Logged once a minute", "relay", r.PathValue("relay"), "error", err.Error())
		})
	}
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	w.WriteHeader(callbackStatus(outcome, err))
}

// take reads and takes one callback. wait is for how long the relay shall not repeat it.
func (c *callbacks) take(w http.ResponseWriter, r *http.Request) (outcome operate.CallbackOutcome, wait time.Duration, err error) {
	door, err := c.taken.Door(r.Context(), r.PathValue("relay"), r.PathValue("token"))
	if refused, ok := errors.AsType[*operate.Error](err); ok && refused.Code == operate.NotFound {
		return operate.CallbackRefused, 0, nil
	}
	if err != nil {
		return operate.CallbackTroubled, time.Second, err
	}
	if wait := door.Wait(time.Now()); wait > 0 {
		return operate.CallbackTooMany, wait, nil
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(callbackLimit)) // a recorder in a test has none
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCallback))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return operate.CallbackTooLarge, 0, nil
	}
	if err != nil {
		return operate.CallbackUnreadable, 0, errBodyLost
	}
	ctx, cancel := context.WithTimeout(r.Context(), callbackLimit)
	defer cancel()
	if outcome, err = c.taken.Take(ctx, door, r.Header, body); err != nil {
		return outcome, time.Second, err
	}
	return outcome, 0, nil
}

// errBodyLost says that a body did not come to its end.
var errBodyLost = errors.New("its body did not come in time")

// callbackStatus is how an outcome is answered.
func callbackStatus(outcome operate.CallbackOutcome, err error) int {
	switch outcome {
	case operate.CallbackRefused:
		return http.StatusNotFound
	case operate.CallbackUnsigned:
		return http.StatusUnauthorized
	case operate.CallbackTooMany:
		return http.StatusTooManyRequests
	case operate.CallbackTooLarge:
		return http.StatusRequestEntityTooLarge
	case operate.CallbackTroubled:
		return http.StatusServiceUnavailable
	}
	if errors.Is(err, errBodyLost) {
		return http.StatusRequestTimeout
	}
	return http.StatusAccepted
}

// SafePath is a path as it may be logged: without the token of a callback's address.
func SafePath(path string) string {
	rest, ok := strings.CutPrefix(path, callbackPrefix)
	if !ok {
		return path
	}
	relay, _, _ := strings.Cut(rest, "/")
	return callbackPrefix + relay + "/..."
}
