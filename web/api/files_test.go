package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/callers"
)

// clip is what the kept file holds.
const clip = "the bytes of a clip"

// newKeeper is a service that keeps files on the disk, in the directory that is returned.
func newKeeper(t *testing.T) (*service, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := archive.Open("file:"+dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return newService(t, func(cfg *Config) { cfg.Archive, cfg.PublicURL = store, "https://klingwatch.example" }), dir
}

// keep stores the clip, and has the row of a task's video say so.
func (s *service) keep(task int) {
	s.Helper()
	key := fmt.Sprintf("default/%d/video-0.mp4", task)
	for _, name := range []string{key, key + ".thumb.jpg"} {
		local, err := os.CreateTemp(s.api.Archive.Spool(), "")
		if err == nil {
			_, err = local.WriteString(clip)
		}
		if err == nil {
			err = s.api.Archive.Put(s.Context(), name, local, archive.Info{Size: int64(len(clip))})
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte(clip))
	s.exec(fmt.Sprintf(`
		update klingwatch.outputs
		set archive_id = nextval('klingwatch.archive_ids'), archive_state = 'stored', archive_key = '%[2]s', bytes = %[3]d, sha256 = '%[4]x', content_type = 'video/mp4',
		    width = 1280, height = 720, thumbnail_key = '%[2]s.thumb.jpg', archived_at = '2026-11-26T08:00:00Z'
		where task = %[1]d`, task, key, len(clip), sum))
}

func TestKeptFilesAreServed(t *testing.T) {
	t.Parallel()
	s, dir := newKeeper(t)
	for _, task := range []string{"t-1", "t-2", "t-3", "t-4", "t-5", "t-6"} {
		s.ended(task, "studio")
	}
	s.exec(`update klingwatch.tasks set external_id = 'größe 1' where id = 1`)
	s.keep(1)
	s.keep(6)
	for task, state := range map[int]string{3: "pending", 4: "lost", 5: "skipped"} {
		s.exec(fmt.Sprintf(`update klingwatch.outputs set archive_id = nextval('klingwatch.archive_ids'), archive_state = '%s', archive_error = 'a reason' where task = %d`, state, task))
	}
	if err := os.Remove(filepath.Join(dir, "default/6/video-0.mp4")); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(clip))
	etag := `"` + hex.EncodeToString(sum[:]) + `"`
	with := func(name, value string) map[string]string { return map[string]string{name: value} }
	for _, sc := range []scenario{
		{name: "whole", request: "GET /v1/outputs/1/video/0/content", key: "read", status: 200, has: []string{
			clip, "Content-Type: video/mp4", "Etag: " + etag, "Last-Modified: Thu, 26 Nov 2026 08:00:00 GMT", "X-Content-Type-Options: nosniff",
			"Content-Security-Policy: sandbox; default-src 'none'", "Cache-Control: private, max-age=3600", "Accept-Ranges: bytes",
			`Content-Disposition: inline; filename="gr__e 1-video-0.mp4"; filename*=utf-8''gr%C3%B6%C3%9Fe%201-video-0.mp4`,
		}},
		{name: "to save", request: "GET /v1/outputs/1/video/0/content?download=1", key: "app", status: 200, has: []string{"Content-Disposition: attachment; "}},
		{name: "its head", request: "HEAD /v1/outputs/1/video/0/content", key: "read", status: 200, has: []string{"Content-Length: 19", "Etag: " + etag}, hasNot: []string{clip}},
		{name: "a part", request: "GET /v1/outputs/1/video/0/content", key: "read", headers: with("Range", "bytes=4-8"), status: 206, has: []string{"bytes\n", "Content-Range: bytes 4-8/19"}},
		{name: "known already", request: "GET /v1/outputs/1/video/0/content", key: "read", headers: with("If-None-Match", etag), status: 304, hasNot: []string{clip}},
		{name: "no such part", request: "GET /v1/outputs/1/video/0/content", key: "read", headers: with("Range", "bytes=99-"), status: 416, has: []string{"range-not-satisfiable", "Content-Range: bytes */19", "Cache-Control: no-store", "application/problem+json"}, hasNot: []string{"Etag"}},
		{name: "another file", request: "GET /v1/outputs/1/video/0/content", key: "read", headers: with("If-Match", `"another"`), status: 412, has: []string{"precondition-failed"}},
		{name: "the thumbnail", request: "GET /v1/outputs/1/video/0/thumbnail", key: "read", status: 200, has: []string{"Content-Type: image/jpeg", strings.TrimSuffix(etag, `"`) + `-thumbnail"`, "1-video-0-thumbnail.jpg"}},

		{name: "no such output", request: "GET /v1/outputs/1/image/0/content", key: "read", status: 404, has: []string{"/docs/problems/not-found", "Cache-Control: no-store"}},
		{name: "no such kind", request: "GET /v1/outputs/1/hologram/0/content", key: "read", status: 422, hasNot: []string{"hologram"}},
		{name: "of a large number", request: "GET /v1/outputs/3000000000/video/2147483647/content", key: "read", status: 404},
		{name: "of another app", request: "GET /v1/outputs/1/video/0/content", key: s.newKey(operate.NewAPIKey{Name: "shop", Scope: "read", App: "shop"}), status: 404, has: []string{"/docs/problems/not-found"}, hasNot: []string{clip}},
		{name: "not kept", request: "GET /v1/outputs/2/video/0/content", key: "read", status: 404, has: []string{"file-not-kept"}},
		{name: "not yet", request: "GET /v1/outputs/3/video/0/content", key: "read", status: 404, has: []string{"file-pending", "Retry-After: 5"}},
		{name: "lost", request: "GET /v1/outputs/4/video/0/content", key: "read", status: 404, has: []string{"file-lost"}, hasNot: []string{"a reason"}},
		{name: "too large", request: "GET /v1/outputs/5/video/0/thumbnail", key: "read", status: 404, has: []string{"file-skipped"}},
		{name: "gone from the archive", request: "GET /v1/outputs/6/video/0/content", key: "read", status: 404, has: []string{"file-missing"}, hasNot: []string{dir, "Etag"}},

		{name: "in the list", request: "GET /v1/outputs?archive_state=stored&limit=2", key: "read", status: 200, has: []string{
			`"content_url":"https://klingwatch.example/v1/outputs/1/video/0/content"`, `"thumbnail_url":"https://klingwatch.example/v1/outputs/1/video/0/thumbnail"`,
			`"bytes":19`, `"sha256":` + etag, `"width":1280`, `"archived_at":"2026-11-26T08:00:00Z"`,
		}, hasNot: []string{"t-2.mp4", "archive_key"}},
		{name: "those not asked for", request: "GET /v1/outputs?archive_state=none", key: "read", status: 200, has: []string{"t-2.mp4", `"archive_state":null`, `"content_url":null`}, hasNot: []string{"t-1.mp4", "t-3.mp4"}},
		{name: "those lost", request: "GET /v1/outputs?archive_state=lost", key: "read", status: 200, has: []string{"t-4.mp4", `"archive_error":"a reason"`}, hasNot: []string{"t-1.mp4", "t-3.mp4"}},
		{name: "with its task", request: "GET /v1/tasks/1", key: "read", status: 200, has: []string{`"archive_state":"stored"`}},
	} {
		s.try(sc)
	}
	s.exec(`update klingwatch.outputs set thumbnail_key = null where task = 1`)
	s.try(scenario{name: "no thumbnail", request: "GET /v1/outputs/1/video/0/thumbnail", key: "read", status: 404, has: []string{"no-thumbnail"}})
}

func TestNoFilesAreServedWithoutAnArchive(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.ended("t-1", "studio")
	s.try(scenario{name: "no archive", request: "GET /v1/outputs/1/video/0/content", key: "read", status: 404, has: []string{"archive-off"}})
}

// silent is a store that does not answer.
type silent struct{ archive.Store }

func (silent) Open(context.Context, string) (archive.Content, error) {
	return archive.Content{}, fmt.Errorf("the archive at 10.0.0.5 does not answer")
}

func TestAnArchiveThatDoesNotAnswerIsNoFaultOfTheFile(t *testing.T) {
	t.Parallel()
	s, _ := newKeeper(t)
	s.ended("t-1", "studio")
	s.keep(1)
	s.api.Archive = silent{s.api.Archive}
	s.try(scenario{name: "no answer", request: "GET /v1/outputs/1/video/0/content", key: "read", status: 503, has: []string{"archive-unavailable", "Retry-After: 5", "Cache-Control: no-store"}, hasNot: []string{"10.0.0.5"}})
}

func TestASignedLinkNeedsNoKey(t *testing.T) {
	t.Parallel()
	s, _ := newKeeper(t)
	s.ended("t-1", "studio")
	s.ended("t-2", "studio")
	s.keep(1)
	s.keep(2)
	sign := func(path string, life time.Duration) string {
		link, err := operate.SignLink(t.Context(), s.pool, path, time.Now().Add(life))
		if err != nil {
			t.Fatal(err)
		}
		return "GET " + link
	}
	const path = "/v1/outputs/1/video/0/content"
	good := sign(path, time.Hour)
	_, query, _ := strings.Cut(good, "?")
	for _, sc := range []scenario{
		{name: "a link", request: good, status: 200, has: []string{clip, "Cache-Control: private, max-age=3"}},
		{name: "its head", request: "HEAD" + strings.TrimPrefix(good, "GET"), status: 200},
		{name: "to save", request: good + "&download=1", status: 200, has: []string{"attachment"}},
		{name: "a link to the thumbnail", request: sign("/v1/outputs/1/video/0/thumbnail", time.Hour), status: 200},
		{name: "one that soon ends", request: sign(path, 10*time.Second), status: 200, hasNot: []string{"max-age=3600"}},
		{name: "the wrong key does not matter", request: good, key: "kw_wrong", status: 200},
		{name: "for another file", request: "GET /v1/outputs/2/video/0/content?" + query, status: 403, has: []string{"link-invalid", "Cache-Control: no-store"}, hasNot: []string{clip}},
		{name: "for its thumbnail", request: "GET /v1/outputs/1/video/0/thumbnail?" + query, status: 403, has: []string{"link-invalid"}},
		{name: "expired", request: sign(path, -time.Second), status: 403, has: []string{"link-expired", "It worked until 20"}, hasNot: []string{clip}},
		{name: "changed", request: strings.Replace(good, "expires=1", "expires=2", 1), status: 403, has: []string{"link-invalid"}},
		{name: "cut", request: good[:len(good)-5], status: 403, has: []string{"link-invalid"}},
		{name: "without a time", request: "GET " + path + "?signature=AAAA", status: 403, has: []string{"link-invalid"}},
		{name: "without a signature", request: "GET " + path + "?expires=4000000000", status: 401},
		{name: "a valid key and a bad link", request: good[:len(good)-5], key: "admin", status: 403},
		{name: "elsewhere", request: "GET /v1/outputs?" + query, status: 401},
	} {
		s.try(sc)
	}
}

func TestAFileIsOpenForSoManyAtOnce(t *testing.T) {
	t.Parallel()
	s, _ := newKeeper(t)
	s.ended("t-1", "studio")
	s.keep(1)
	const path = "/v1/outputs/1/video/0/content"
	link, err := operate.SignLink(t.Context(), s.pool, path, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	request := "GET " + link
	for range callers.MaxFiles {
		_, done, err := s.api.callers.Hold(t.Context(), path, callers.File)
		if err != nil {
			t.Fatal(err)
		}
		defer done()
	}
	s.try(scenario{name: "one more by the link", request: request, status: http.StatusTooManyRequests, has: []string{"too-many-connections", "Retry-After: 1"}})
	s.try(scenario{name: "with a key", request: "GET " + path, key: "read", status: http.StatusOK})
	if ids := s.api.callers.Holding(); len(ids) != 0 { // no key is asked about that there is not
		t.Errorf("links are taken for keys: %q", ids)
	}
}
