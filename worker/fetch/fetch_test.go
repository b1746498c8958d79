package fetch_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/klingwatch/klingwatch/worker/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// newClient returns a client that may reach loopback and is impatient, unless cfg says otherwise.
func newClient(cfg fetch.Config) *fetch.Client {
	if cfg.AllowNetworks == nil {
		cfg.AllowNetworks = loopback
	}
	if cfg.Pause == 0 {
		cfg.Pause = time.Millisecond
	}
	return fetch.New(cfg)
}

// clip is a file of so many bytes that is built like a video.
func clip(size int) []byte {
	const head, index = "\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42", "\x00\x00\x00\x08moov"
	content := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content)
	copy(content, head)
	binary.BigEndian.PutUint32(content[len(head):], uint32(size-len(head)-len(index)))
	copy(content[len(head)+4:], "mdat")
	copy(content[size-len(index):], index)
	return content
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// local is a new file, as the archive's spool gives one.
func local(t testing.TB) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// host answers with a handler of net/http, at the URL that it returns.
func host(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// serves content as a good host does: with its length, an ETag and ranges.
func serves(content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+digest(content)+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

// check fails unless a file is the content, in the local file as well.
func check(t testing.TB, into *os.File, file fetch.File, content []byte) {
	t.Helper()
	got, err := os.ReadFile(into.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) || file.Bytes != int64(len(content)) || file.SHA256 != digest(content) {
		t.Errorf("got %+v and %d bytes in the local file, want %d bytes with %s", file, len(got), len(content), digest(content))
	}
}

func TestAFileIsFetchedWhole(t *testing.T) {
	t.Parallel()
	content := clip(1 << 20)
	into := local(t)
	var last int64
	file, err := newClient(fetch.Config{}).Fetch(t.Context(), fetch.Source{URL: host(t, serves(content)) + "/a.mp4?sig=1", Kind: "video"}, into, func(have, total int64) {
		if have < last || total != int64(len(content)) {
			t.Errorf("progress: %d of %d after %d", have, total, last)
		}
		last = have
	})
	if err != nil {
		t.Fatal(err)
	}
	check(t, into, file, content)
	if file.ContentType != "video/mp4" || file.Ext != "mp4" || last != file.Bytes {
		t.Errorf("%+v after %d bytes of progress", file, last)
	}
}
