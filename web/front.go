package web

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/rs/cors"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/web/api"
)

// Front stands before all that is served: it names, counts and logs requests, and refuses
// those of pages that have no business here.
type Front struct {
	Log     *slog.Logger
	Metrics *metrics.HTTP
	Tracer  trace.Tracer // nil: nothing is traced
	Hosts   []string     // names under which a proxy on this machine reaches it, beside those of the machine itself
	Origins []string     // of pages in browsers that may call the API; none by default
}

// Wrap puts the front before a handler.
func (f Front) Wrap(h http.Handler) http.Handler {
	if len(f.Origins) > 0 {
		h = cors.New(cors.Options{
			AllowedOrigins: f.Origins,
			AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete},
			AllowedHeaders: []string{"Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "If-Range", "Last-Event-ID", "Prefer", "Range", "X-Request-Id"},
			ExposedHeaders: []string{"Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Link", "Location", "Preference-Applied", "Retry-After", "X-Request-Id"},
			MaxAge:         600,
		}).Handler(h)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, h) })
}

// givenID is a request id that we take from the caller.
var givenID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func (f Front) serve(w http.ResponseWriter, r *http.Request, h http.Handler) {
	begun := time.Now()
	visit := &api.Visit{RequestID: r.Header.Get("X-Request-Id")}
	if !givenID.MatchString(visit.RequestID) {
		visit.RequestID = rand.Text()
	}
	w.Header().Set("X-Request-Id", visit.RequestID)
	ctx, end := f.trace(api.WithVisit(r.Context(), visit), r)
	r = r.WithContext(ctx)
	seen := &seenWriter{ResponseWriter: w}
	defer func() {
		broke := recover()
		gone, _ := broke.(error)
		aborted := errors.Is(gone, http.ErrAbortHandler)
		if broke != nil && !aborted {
			f.Log.Error("a request failed", "error", broke, "request_id", visit.RequestID, "stack", string(debug.Stack()))
			if aborted = seen.status != 0; !aborted { // half an answer must not look like a whole one
				api.WriteFailure(seen)
			}
		}
		f.note(r, visit, seen, time.Since(begun))
		end(r.Pattern, seen.status)
		if aborted {
			panic(http.ErrAbortHandler)
		}
	}()
	if !f.knows(r) {
		http.Error(seen, "This address is not klingwatch's. Behind a proxy on the same machine, name its host in KLINGWATCH_HOSTS.", http.StatusMisdirectedRequest)
		return
	}
	h.ServeHTTP(seen, r)
}

// knows refuses what reached this machine under a name that is not its own: a page of
// another site can have its name point here, and would read what the machine may read.
func (f Front) knows(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return true
	}
	addr, err := netip.ParseAddrPort(local.String())
	if err != nil || !addr.Addr().Unmap().IsLoopback() {
		return true
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(strings.ToLower(host), "[]")
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback() || slices.Contains(f.Hosts, host)
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(f.Hosts, host)
}

// note counts and logs a request, by its route: addresses hold ids, and secrets.
func (f Front) note(r *http.Request, visit *api.Visit, seen *seenWriter, took time.Duration) {
	f.Metrics.Note(r.Pattern, seen.status, took)
	level := slog.LevelDebug
	if strings.Contains(r.Pattern, "/v1/") || r.Method != http.MethodGet && r.Method != http.MethodHead {
		level = slog.LevelInfo
	}
	f.Log.Log(r.Context(), level, "request", "method", r.Method, "route", r.Pattern, "status", seen.status, "bytes", seen.bytes,
		"seconds", took.Seconds(), "request_id", visit.RequestID, "api_key", visit.APIKey, "remote", r.RemoteAddr)
}

// trace begins a span, which goes on from the caller's.
func (f Front) trace(ctx context.Context, r *http.Request) (context.Context, func(route string, status int)) {
	if f.Tracer == nil {
		return ctx, func(string, int) {}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	ctx, span := f.Tracer.Start(ctx, "HTTP "+r.Method, trace.WithSpanKind(trace.SpanKindServer))
	return ctx, func(route string, status int) {
		span.SetName("HTTP " + route)
		span.SetAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", route), attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
		span.End()
	}
}

// seenWriter notes what is answered.
type seenWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader notes the status.
func (w *seenWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (w *seenWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom counts the bytes of a file, which the system may send by itself.
func (w *seenWriter) ReadFrom(file io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := io.Copy(w.ResponseWriter, file)
	w.bytes += n
	return n, err
}

// Unwrap lets streams flush.
func (w *seenWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
