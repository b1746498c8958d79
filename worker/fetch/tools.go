package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

const (
	// filmTimeout bounds all that is asked about one video or audio file.
	filmTimeout = 10 * time.Second
	// versionTimeout is longer: what seems to be missing at the start of a busy machine is
	// missed until the next.
	versionTimeout = time.Minute
	// maxPoster is the most that ffmpeg may print.
	maxPoster = 1 << 20
)

// errNotInstalled is why the size and duration of a video are unknown.
var errNotInstalled = errors.New("ffmpeg is not installed: without it videos have no size, duration and thumbnail")

// Tool is a program of the machine; the zero value is one that is not installed.
type Tool struct{ Path, Version string }

// Tools are the programs that know videos. The zero value has none, and measures
// pictures all the same.
type Tools struct {
	FFmpeg, FFprobe Tool
	bounds          []string // a command that runs another one, nicely and within limits
}

// FindTools looks for ffmpeg and ffprobe in PATH. One that cannot tell its version
// counts as not installed.
func FindTools(ctx context.Context) *Tools {
	t := &Tools{}
	if nice, err := exec.LookPath("nice"); err == nil {
		t.bounds = append(t.bounds, nice, "-n", "10")
	}
	if prlimit, err := exec.LookPath("prlimit"); err == nil {
		// no file, no core, and no more memory or time than a clip in 4K needs; the time
		// ends it when we were killed
		t.bounds = append(t.bounds, prlimit, "--as=1073741824", "--cpu=20", "--fsize=0", "--core=0", "--")
	}
	t.FFmpeg, t.FFprobe = t.find(ctx, "ffmpeg"), t.find(ctx, "ffprobe")
	return t
}

// Installed reports whether videos can be measured.
func (t *Tools) Installed() bool { return t.FFmpeg.Path != "" && t.FFprobe.Path != "" }

func (t *Tools) find(ctx context.Context, name string) Tool {
	path, err := exec.LookPath(name)
	if err != nil {
		return Tool{}
	}
	if path, err = filepath.Abs(path); err != nil {
		return Tool{}
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := t.run(ctx, path, "-version")
	words := strings.Fields(string(out)) // ffmpeg version 5.1.9-0+deb12u1 Copyright ...
	if err != nil || len(words) < 3 {
		return Tool{}
	}
	return Tool{Path: path, Version: words[2]}
}

// run returns what a program prints. The program gets nothing of ours: no
// environment, no input, and it ends with the context.
func (t *Tools) run(ctx context.Context, program string, args ...string) ([]byte, error) {
	command := slices.Concat(t.bounds, []string{program}, args)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.WaitDelay = time.Second
	inGroup(cmd)
	out, complaints := capped{left: maxPoster}, capped{left: 4 << 10}
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	name := filepath.Base(program)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s did not end in time", name)
	case out.left < 0:
		return nil, fmt.Errorf("%s printed more than %d bytes", name, maxPoster)
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %s", name, err, outbound.Truncate(outbound.LogLine(complaints.kept.String()), maxText))
	}
	return out.kept.Bytes(), nil
}

// capped keeps the first bytes that are written to it.
type capped struct {
	kept bytes.Buffer
	left int // negative: there was more
}

// Write takes all and keeps some.
func (c *capped) Write(p []byte) (int, error) {
	c.kept.Write(p[:max(0, min(len(p), c.left))])
	c.left = max(-1, c.left-len(p))
	return len(p), nil
}
