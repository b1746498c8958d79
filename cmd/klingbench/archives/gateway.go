package archives

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// What the S3 server's only user has to know.
const (
	bucket    = "clips"
	accessKey = "klingbench"
	secretKey = "not-a-secret-bench"
)

// gatewayLimit bounds the start of the S3 server.
const gatewayLimit = 20 * time.Second

// gateway is versitygw, an S3 server that keeps each object as a file.
type gateway struct {
	program *process.Program
	address string
	root    string
}

// startGateway starts a server with one empty bucket below dir, and sets the variables by
// which this process and its children sign their requests.
func startGateway(ctx context.Context, dir string) (g *gateway, err error) {
	program, err := exec.LookPath(cmp.Or(os.Getenv("VERSITYGW"), "versitygw"))
	if err != nil {
		return nil, errors.New("looking for the S3 server: run  go install github.com/versity/versitygw/cmd/versitygw@v1.8.0  and set VERSITYGW to the program")
	}
	g = &gateway{root: filepath.Join(dir, "s3")}
	if err := os.MkdirAll(g.bucketDir(), 0o750); err != nil {
		return nil, err
	}
	if g.address, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	server := exec.CommandContext(ctx, program, "--port", g.address, "--access", accessKey, "--secret", secretKey, "--health", "/health", "--quiet", "posix", g.root)
	if g.program, err = process.Launch(server, syscall.SIGKILL); err != nil {
		return nil, err
	}
	if _, err := bench.Until(ctx, "the S3 server answers", gatewayLimit, g.answers, func(yes bool) bool { return yes }); err != nil {
		g.stop()
		return nil, err
	}
	return g, errors.Join(os.Setenv("AWS_ACCESS_KEY_ID", accessKey), os.Setenv("AWS_SECRET_ACCESS_KEY", secretKey))
}

func (g *gateway) bucketDir() string { return filepath.Join(g.root, bucket) }

func (g *gateway) setting() string {
	return fmt.Sprintf("s3://%s?endpoint=http://%s&region=us-east-1", bucket, g.address)
}

func (g *gateway) answers(ctx context.Context) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.address+"/health", nil)
	if err != nil {
		return false, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, ctx.Err()
	}
	return res.StatusCode == http.StatusOK, res.Body.Close()
}

func (g *gateway) stop() { g.program.Kill() }

// freeAddress is one where nobody listens.
func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
