package pages_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/web/pages"
)

// addFiles makes three tasks that succeeded: an image that is kept, a video that is being
// fetched, and one of another app that is lost.
func (s *site) addFiles() {
	s.Helper()
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, external_id, app, status, ended_by, finished_at) values
		('one', 'images', 'generations', 'order-1', 'studio', 'succeeded', 'provider', now()), ('two', 'videos', 'text2video', 'order-2', 'studio', 'succeeded', 'provider', now()),
		('three', 'videos', 'text2video', 'order-3', 'shop', 'succeeded', 'provider', now())`)
	s.exec(`insert into klingwatch.outputs (task, kind, position, url, expires_at, archive_id, archive_state) values
		(1, 'image', 0, 'https://p.example/1.png', now() + interval '20 days', 1, 'pending'), (2, 'video', 0, 'https://p.example/2.mp4', now() + interval '2 hours', 2, 'pending'),
		(3, 'video', 0, 'https://p.example/3.mp4', now() - interval '1 hour', 3, 'lost')`)
	s.exec(`update klingwatch.outputs set archive_error = 'HTTP 404' where task = 3`)
	s.keep(1)
}

// keep notes that the file of a task is kept.
func (s *site) keep(task int64) {
	s.Helper()
	s.exec(`update klingwatch.outputs set archive_state = 'stored', archive_key = 'default/2026/11/25/1/file.bin', bytes = 2048, sha256 = repeat('a', 64), content_type = 'image/png',
		width = 640, height = 480, thumbnail_key = 'default/2026/11/25/1/file.jpg', archived_at = now() where task = $1`, task)
}

func TestTheGalleryIsFilteredByItsAddress(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addFiles()
	p := s.as("read")
	p.sees("/gallery", http.StatusOK, `/gallery/1/image/0`, `/gallery/2/video/0`, `/gallery/3/video/0`, `src="/v1/outputs/1/image/0/thumbnail"`, `width="480"`, "640×480", "deleted by the provider")
	for query, want := range map[string]string{
		"kind=image": "1/image/0", "archive=pending": "2/video/0", "archive=lost": "3/video/0", "expiring=1d": "2/video/0", "external_id=order-3": "3/video/0",
		"app=shop": "3/video/0", "action=images/generations": "1/image/0", "kind=video&app=studio&relay=default&since=1h": "2/video/0",
	} {
		got := p.sees("/gallery?"+query, http.StatusOK, "/gallery/"+want)
		for _, other := range []string{"1/image/0", "2/video/0", "3/video/0"} {
			if other != want {
				got.mustLack(t, `href="/gallery/`+other)
			}
		}
	}
	p.sees("/gallery?archive=none", http.StatusOK, "No file is like that")
	p.sees("/gallery?kind=%3Cscript%3E&archive=x", http.StatusOK, "/gallery/1/image/0")
	p.sees("/gallery?expiring=soon", http.StatusUnprocessableEntity, "24h")
}

func TestTheFirstFileIsExplained(t *testing.T) {
	t.Parallel()
	start(t).as("read").sees("/gallery", http.StatusOK, "No file yet", "KLINGWATCH_ARCHIVE=file:")
}

// A page of files loads thumbnails alone: a video is asked for only by the script, or on
// its own page.
func TestTheGalleryLoadsNoVideo(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addFiles()
	s.keep(2)
	p := s.as("read")
	p.sees("/gallery", http.StatusOK, `data-video="/v1/outputs/2/video/0/content"`, `loading="lazy"`).mustLack(t, "<video", `src="/v1/outputs/2/video/0/content"`)
	p.sees("/gallery/2/video/0", http.StatusOK, `<video class="large" src="/v1/outputs/2/video/0/content" controls`, "content?download=true", s.url+"/v1/outputs/2/video/0/content")
}

func TestAFileThatIsNotKeptLeadsToItsProvider(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addFiles()
	p := s.as("read")
	p.sees("/gallery/3/video/0", http.StatusOK, "could not be had in time", "HTTP 404", `href="https://p.example/3.mp4"`).mustLack(t, "<video")
	for _, missing := range []string{"/gallery/1/video/0", "/gallery/1/image/7", "/gallery/x/image/0", "/gallery/1/image/99999999999", "/gallery/9/image/0"} {
		p.sees(missing, http.StatusNotFound)
	}
}

func TestAnAppSeesItsOwnFilesOnly(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addFiles()
	p := s.as("app")
	p.sees("/gallery", http.StatusOK, "order-2").mustLack(t, "order-3")
	p.sees("/gallery?app=shop", http.StatusOK).mustLack(t, "order-3")
	p.sees("/gallery/3/video/0", http.StatusNotFound)
	if parts := p.open("/live?view=gallery&ids=1,2,3").until("o1-image-0-kept", "kept"); parts["o3-video-0-kept"] != "" {
		t.Errorf("it is told %v", parts)
	}
}

func TestATileChangesWhenItsFileIsKept(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addFiles()
	tab := s.as("read").open("/live?view=gallery&ids=1,2")
	tab.until("o2-video-0-kept", "being kept")
	s.keep(2)
	s.exec(`insert into klingwatch.events (event_id, task, type, sequence, payload) values ('msg_1', 2, 'task.archived', 2, '{}')`)
	s.exec(`select pg_notify('klingwatch.events', '')`)
	tab.until("o2-video-0-still", "/v1/outputs/2/video/0/thumbnail")
}

func TestHostileFilesStayValues(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addFiles()
	s.exec(`update klingwatch.tasks set external_id = $1, app = $2`, hostileScript+hostileQuote+hostileRTL, hostileScript)
	s.exec(`update klingwatch.outputs set url = 'javascript:alert(1)', watermark_url = 'javascript:alert(1)', archive_error = $1 where task = 3`, hostileScript)
	p := s.as("admin")
	for _, path := range []string{"/gallery", "/gallery/1/image/0", "/gallery/3/video/0", "/gallery?relay=%22%20onmouseover=%22alert(1)&external_id=" + strings.Repeat("x", 3000)} {
		p.sees(path, http.StatusOK).mustLack(t, "<script>alert", `" onmouseover="alert`, `href="javascript:`)
	}
}

// Where the store has addresses of its own, pages may load from there, and from nowhere else.
func TestPagesMayLoadFilesFromTheStore(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *pages.Config) { cfg.FilesAt = "https://s3.example" })
	policy := s.as("read").get("/gallery").Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "img-src 'self' https://s3.example data:; media-src 'self' https://s3.example;") || strings.Count(policy, "s3.example") != 2 {
		t.Errorf("the policy is %q", policy)
	}
}
