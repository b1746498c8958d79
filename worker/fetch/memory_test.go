package fetch_test

import (
	"crypto/sha256"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/klingwatch/klingwatch/worker/fetch"
)

// All that eight large downloads allocate from their beginning to their end, with
// their hosts: it runs alone, without t.Parallel.
func TestLargeDownloadsTakeLittleMemory(t *testing.T) {
	const size, most = 32 << 20, 8 << 20
	piece := clip(1 << 20)
	url := host(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		for range size / len(piece) {
			_, _ = w.Write(piece)
		}
	})
	client := newClient(fetch.Config{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var downloads sync.WaitGroup
	for range 8 {
		into := local(t)
		downloads.Go(func() {
			if file, err := client.Fetch(t.Context(), fetch.Source{URL: url}, into, nil); err != nil || file.Bytes != size {
				t.Errorf("%d bytes, %v", file.Bytes, err)
			}
		})
	}
	downloads.Wait()
	runtime.ReadMemStats(&after)
	t.Logf("%d kB for 8 x %d MB", (after.TotalAlloc-before.TotalAlloc)>>10, size>>20)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > most {
		t.Errorf("%d bytes", taken)
	}
}

// Against io.Copy with the same sha256; see go test -bench.
func BenchmarkFetch(b *testing.B) {
	const size = 20 << 20
	content := clip(size)
	url := host(b, serves(content))
	into := local(b)
	b.Run("io.Copy", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			res, err := http.Get(url)
			if err != nil {
				b.Fatal(err)
			}
			_ = into.Truncate(0)
			_, _ = into.Seek(0, io.SeekStart)
			sum := sha256.New()
			if _, err := io.Copy(io.MultiWriter(into, sum), res.Body); err != nil {
				b.Fatal(err)
			}
			res.Body.Close()
		}
	})
	b.Run("Fetch", func(b *testing.B) {
		client := newClient(fetch.Config{})
		b.SetBytes(size)
		for b.Loop() {
			if _, err := client.Fetch(b.Context(), fetch.Source{URL: url}, into, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
