//go:build unix && !aix && !solaris

package embeddedpg

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// nowhere is where a search finds nothing.
var nowhere = []string{"/nonexistent/*"}

func TestNoBinariesIsOneClearError(t *testing.T) {
	t.Parallel()
	repository := httptest.NewServer(http.NotFoundHandler())
	defer repository.Close()
	_, err := Start(t.Context(), Config{DataDir: newDataDir(t), CacheDir: newDataDir(t), RepositoryURL: repository.URL, onlyIn: nowhere})
	if !errors.Is(err, ErrNoBinaries) {
		t.Fatalf("Start: %v", err)
	}
	t.Log(err)
	for _, want := range []string{"fetching PostgreSQL 18 failed", "apt install", "brew install", "docker run"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	oneLineOnly(t, err)
}

// TestBinariesAreFetchedOnce is the life of a cache: a fetch that breaks off, one for two
// servers at once, none when the repository is gone.
func TestBinariesAreFetchedOnce(t *testing.T) {
	t.Parallel()
	cache := newDataDir(t)
	repository := newRepository(t)
	fetching := func() Config {
		return Config{DataDir: newDataDir(t), CacheDir: cache, RepositoryURL: repository.server.URL, onlyIn: nowhere}
	}

	breakOff(t, repository, fetching())
	if half, _ := filepath.Glob(filepath.Join(cache, cachePrefix+"*")); len(half) > 0 {
		t.Errorf("the broken fetch left %s", half)
	}

	// Two at once: the first takes the lock of the cache, the other waits.
	repository.fetches.Store(0)
	type started struct {
		server *Server
		err    error
	}
	other := make(chan started, 1)
	go func() {
		cfg := fetching()
		cfg.Parameters = speed
		server, err := Start(context.Background(), cfg)
		other <- started{server, err}
	}()
	first := start(t, fetching())
	second := <-other
	check(t, second.err)
	defer second.server.Close()
	for _, server := range []*Server{first, second.server} {
		dir := queryOne[string](t, server.URL(), "select setting from pg_config() where name = 'BINDIR'")
		if !strings.HasPrefix(dir, cache) {
			t.Errorf("the server runs from %s, not from the cache", dir)
		}
	}
	if n := repository.fetches.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}

	repository.server.Close()
	start(t, fetching())
	if litter, _ := filepath.Glob(filepath.Join(cache, partial+"*")); len(litter) > 0 {
		t.Errorf("left in the cache: %s", litter)
	}
}

// Data directories that are thrown away, as those of dev and of tests are, must
// not throw away what was fetched.
func TestProcessesShareTheCacheOfTheirUser(t *testing.T) {
	t.Parallel()
	repository := newRepository(t)
	home := filepath.Dir(newDataDir(t))
	uid := ordinaryUser(t, home)
	env := []string{"HOME=" + home, "XDG_CACHE_HOME=", "TMPDIR=" + home, "EMBEDDEDPG_TEST_REPOSITORY=" + repository.server.URL}
	start := func(name string) *process { return startProcess(t, filepath.Join(home, name), uid, env...) }

	for _, p := range []*process{start("first"), start("second")} {
		_, url := p.waitReady()
		bin := queryOne[string](t, url, "select setting from pg_config() where name = 'BINDIR'")
		if rest, found := strings.CutPrefix(bin, home); !found || !strings.Contains(strings.ToLower(rest), "cache") {
			t.Errorf("the server runs from %s, not from the cache of the user", bin)
		}
	}
	if n := repository.fetches.Load(); n != 1 {
		t.Errorf("two processes fetched %d times", n)
	}
	repository.server.Close()
	start("third").waitReady()
}

func TestAUserWithoutACacheKeepsBinariesBesideTheData(t *testing.T) {
	t.Parallel()
	repository := newRepository(t)
	home := filepath.Dir(newDataDir(t))
	uid := ordinaryUser(t, home)
	check(t, os.WriteFile(filepath.Join(home, "file"), nil, 0o600))
	for name, cache := range map[string]string{"unusable": filepath.Join(home, "file"), "unknown": ""} {
		dir := filepath.Join(home, name)
		p := startProcess(t, dir, uid, "HOME="+cache, "XDG_CACHE_HOME=", "TMPDIR="+home, "EMBEDDEDPG_TEST_REPOSITORY="+repository.server.URL)
		_, url := p.waitReady()
		if bin := queryOne[string](t, url, "select setting from pg_config() where name = 'BINDIR'"); !strings.HasPrefix(bin, dir+"-binaries/") {
			t.Errorf("%s cache: the server runs from %s", name, bin)
		}
	}
}

func TestADamagedArchiveIsRefused(t *testing.T) {
	t.Parallel()
	repository := newRepository(t)
	repository.sum = strings.Repeat("0", 64)
	_, err := Start(t.Context(), Config{DataDir: newDataDir(t), CacheDir: newDataDir(t), RepositoryURL: repository.server.URL, onlyIn: nowhere})
	if !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), "checksums do not match") {
		t.Errorf("Start: %v", err)
	}
}

// breakOff starts a fetch and cancels it in the middle of the archive.
func breakOff(t *testing.T, repository *repository, cfg Config) {
	t.Helper()
	repository.hang.Store(true)
	defer repository.hang.Store(false)
	defer close(repository.goOn) // the fetcher itself cannot be canceled
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-repository.hanging
		cancel()
	}()
	if _, err := Start(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("Start with a broken fetch: %v", err)
	}
}

// repository serves the installed binaries as the fetcher wants them.
type repository struct {
	server  *httptest.Server
	sum     string // SHA-256 that it claims
	fetches atomic.Int32

	hang    atomic.Bool   // break off in the middle of the archive
	hanging chan struct{} // receives when it does
	goOn    chan struct{} // closed to let the broken fetch end
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	jar := installedJar(t)
	sum := sha256.Sum256(jar)
	r := &repository{
		sum:     hex.EncodeToString(sum[:]),
		hanging: make(chan struct{}, 1),
		goOn:    make(chan struct{}),
	}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, ".sha256") {
			_, _ = io.WriteString(w, r.sum)
			return
		}
		r.fetches.Add(1)
		if r.hang.Load() {
			_, _ = w.Write(jar[:len(jar)/2])
			r.hanging <- struct{}{}
			<-r.goOn
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(jar)
	}))
	t.Cleanup(r.server.Close)
	return r
}

// installedJar is a zip file with a .txz of initdb and postgres. A copied
// PostgreSQL looks for its libraries beside a bin directory that it is in, and
// otherwise where they were installed; so the copies lie elsewhere, and in bin
// are scripts that run them.
func installedJar(t *testing.T) []byte {
	t.Helper()
	who, err := serverAccount(newDataDir(t))
	check(t, err)
	search := &search{account: who, report: func(string) {}}
	var bin binaries
	for _, dir := range search.candidates(t.Context()) {
		if bin, err = search.inspect(t.Context(), dir); err == nil {
			break
		}
	}
	if bin.major == 0 {
		t.Fatal("no PostgreSQL is installed; apt install postgresql, or brew install postgresql@18")
	}
	var archive bytes.Buffer
	files := tar.NewWriter(&archive)
	add := func(name string, content []byte) {
		check(t, files.WriteHeader(&tar.Header{Name: name, Mode: 0o700, Size: int64(len(content))}))
		_, err := files.Write(content)
		check(t, err)
	}
	for _, path := range []string{bin.initdb(), bin.postgres()} {
		name := filepath.Base(path)
		content, err := os.ReadFile(path)
		check(t, err)
		add("copied/"+name, content)
		add("bin/"+name, []byte("#!/bin/sh\nexec \"${0%/*}/../copied/"+name+"\" \"$@\"\n"))
	}
	check(t, files.Close())
	var jar bytes.Buffer
	packed := zip.NewWriter(&jar)
	entry, err := packed.CreateHeader(&zip.FileHeader{Name: "postgres.txz", Method: zip.Store})
	check(t, err)
	_, err = entry.Write(storedXZ(archive.Bytes()))
	check(t, err)
	check(t, packed.Close())
	return jar.Bytes()
}

// storedXZ wraps data in the xz format without compressing it, as that would
// take longer than all tests together. See the .xz file format, version 1.2.
func storedXZ(data []byte) []byte {
	little := binary.LittleEndian
	sum := func(b []byte) []byte { return little.AppendUint32(b, crc32.ChecksumIEEE(b)) }
	flags := []byte{0, 1} // CRC32 as the check of a block
	out := append([]byte("\xfd7zXZ\x00"), flags...)
	out = little.AppendUint32(out, crc32.ChecksumIEEE(flags))

	// One block, of the filter LZMA2 with a dictionary of 64 KiB.
	block := sum([]byte{2, 0, 0x21, 1, 8, 0, 0, 0})
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1<<16)
		block = append(block, 1, byte((n-1)>>8), byte(n-1)) // stored, new dictionary
		block = append(block, rest[:n]...)
		rest = rest[n:]
	}
	block = append(block, 0)
	unpadded := len(block) + 4
	block = append(block, make([]byte, -len(block)&3)...)
	block = little.AppendUint32(block, crc32.ChecksumIEEE(data))

	index := binary.AppendUvarint([]byte{0, 1}, uint64(unpadded))
	index = binary.AppendUvarint(index, uint64(len(data)))
	index = sum(append(index, make([]byte, -len(index)&3)...))

	footer := append(little.AppendUint32(nil, uint32(len(index)/4-1)), flags...)
	out = append(append(out, block...), index...)
	out = little.AppendUint32(out, crc32.ChecksumIEEE(footer))
	return append(append(out, footer...), "YZ"...)
}
