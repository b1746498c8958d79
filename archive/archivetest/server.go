// Package archivetest starts a real S3 server for tests: versitygw, which keeps files as
// files. Its program is looked for where the variable VERSITYGW says, or in the PATH;
// where there is none, the test is skipped, but in CI it fails.
//
//	server := archivetest.Start(t)
//	cmd.Env = append(cmd.Env, server.Env()...)
//	store, err := archive.Open(server.Setting("prefix", ""), t.TempDir())
package archivetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// What the server's only user has to know.
const (
	Bucket    = "clips"
	AccessKey = "klingwatch-test"
	SecretKey = "not-a-secret-7f31"
)

// Server is an S3 server on this machine with one empty bucket.
type Server struct {
	URL string // http://127.0.0.1:PORT
	Dir string // of the bucket, in which each object is a file

	stdin  io.Closer // the server ends with it
	exited chan struct{}
	log    *lockedBuffer
}

// Start starts a server that ends with the test, and with the process of the test.
func Start(t testing.TB) *Server {
	t.Helper()
	program := find(t)
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, Bucket), 0o750); err != nil {
		t.Fatal(err)
	}
	for range 5 { // another process may take the free port first
		server, err := start(program, root)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Stop)
		if server.ready() {
			return server
		}
		server.Stop()
		t.Logf("the S3 server did not start: %s", server.log)
	}
	t.Fatal("the S3 server did not start five times in a row")
	return nil
}

func find(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath(cmp.Or(os.Getenv("VERSITYGW"), "versitygw"))
	switch {
	case err == nil:
		return program
	case os.Getenv("CI") != "" || os.Getenv("VERSITYGW") != "":
		t.Fatalf("the tests of S3 need versitygw: %v", err)
	}
	t.Skip("SKIPPED, S3 is not tested: run  go install github.com/versity/versitygw/cmd/versitygw@v1.8.0  and set VERSITYGW to the program, or have it in the PATH")
	return ""
}

// start has a shell wait for the end of its input, so that the server does not outlive a
// test that is killed.
func start(program, root string) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	listener.Close()

	cmd := exec.CommandContext(context.Background(), "sh", "-c", `"$@" </dev/null & read _; kill -9 $!; wait`, "sh",
		program, "--port", address, "--access", AccessKey, "--secret", SecretKey, "--health", "/health", "--quiet", "posix", root)
	server := &Server{URL: "http://" + address, Dir: filepath.Join(root, Bucket), exited: make(chan struct{}), log: &lockedBuffer{}}
	cmd.Stdout, cmd.Stderr = server.log, server.log
	if server.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		close(server.exited)
	}()
	return server, nil
}

func (s *Server) ready() bool {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range 500 {
		request, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL+"/health", nil)
		if response, err := client.Do(request); err == nil {
			response.Body.Close()
			return response.StatusCode == http.StatusOK
		}
		select {
		case <-s.exited:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

// Stop kills the server, whatever it is doing.
func (s *Server) Stop() {
	s.stdin.Close()
	<-s.exited
}

// Setting is what KLINGWATCH_ARCHIVE has to be for the server, or for a proxy in front
// of it.
func (s *Server) Setting(prefix, proxy string) string {
	return fmt.Sprintf("s3://%s/%s?endpoint=%s", Bucket, prefix, cmp.Or(proxy, s.URL))
}

// Env are the variables with the credentials.
func (s *Server) Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey}
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
