package contender

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// CopierRole is the process that copies files from their host to the disk with io.Copy and
// nothing else.
var CopierRole = process.Role{Name: "copier", Service: func(ctx context.Context) any { return &copier{ctx: ctx} }}

// CopierPlan is a measurement of io.Copy.
type CopierPlan struct {
	URLs   []string
	Dir    string
	AtOnce int
	Sync   bool // have each file on the disk before it counts
}

type copier struct{ ctx context.Context }

// Send copies all files.
func (c *copier) Send(plan CopierPlan, _ *process.None) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, plan.AtOnce)
	for range plan.AtOnce {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(plan.URLs); i = int(next.Add(1)) - 1 {
				if err := c.fetch(plan.URLs[i], filepath.Join(plan.Dir, strconv.Itoa(i)), plan.Sync); err != nil {
					errs <- fmt.Errorf("copying a file: %w", err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func (c *copier) fetch(url, path string, sync bool) error {
	req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(io.MultiWriter(file, sha256.New()), res.Body); err != nil || !sync {
		return err
	}
	return file.Sync()
}
