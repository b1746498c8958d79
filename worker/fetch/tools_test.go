package fetch

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pathOf is a PATH with programs of these names, each a line of shell.
func pathOf(t *testing.T, programs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, line := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+line+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWithoutFFmpegVideosStayUnmeasured(t *testing.T) {
	t.Setenv("PATH", pathOf(t, nil))
	tools := FindTools(t.Context())
	if tools.Installed() || tools.FFmpeg != (Tool{}) {
		t.Errorf("%+v", tools)
	}
	file, thumb, err := tools.Measure(t.Context(), File{ContentType: "video/mp4"}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "not installed") || file.Width != 0 || thumb.Bytes != 0 {
		t.Errorf("%+v, %+v, %v", file, thumb, err)
	}
}

func TestABrokenFFmpegCountsAsNotInstalled(t *testing.T) {
	t.Setenv("PATH", pathOf(t, map[string]string{"ffmpeg": "echo no library >&2; exit 127", "ffprobe": "echo ffprobe version 9 Copyright"}))
	tools := FindTools(t.Context())
	if tools.Installed() || tools.FFmpeg.Path != "" || tools.FFprobe.Version != "9" {
		t.Errorf("%+v", tools)
	}
}

func TestAProgramGetsNothingOfOurEnvironment(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://secret")
	dir := pathOf(t, map[string]string{"show": "env; cat"})
	out, err := (&Tools{}).run(t.Context(), filepath.Join(dir, "show"))
	if err != nil || strings.Contains(string(out), "secret") || !strings.Contains(string(out), "PATH=") {
		t.Errorf("%v: %s", err, out)
	}
}

// Program and child hold a pipe open: it ends when both are dead.
func TestAProgramEndsWithItsChildren(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "alive")
	if err := exec.CommandContext(t.Context(), "mkfifo", pipe).Run(); err != nil {
		t.Skip("no mkfifo")
	}
	dir := pathOf(t, map[string]string{"hang": "exec 3>" + pipe + "; sleep 600 & echo started >&3; wait"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		alive, err := os.Open(pipe)
		if err != nil {
			t.Error(err)
			return
		}
		defer alive.Close()
		_, _ = alive.Read(make([]byte, 100))
		cancel()
		_, _ = io.Copy(io.Discard, alive)
	}()
	if _, err := (&Tools{}).run(ctx, filepath.Join(dir, "hang")); err == nil {
		t.Error("no error")
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("a child outlived the program")
	}
}

func TestAProgramThatPrintsWithoutEndIsNoPoster(t *testing.T) {
	t.Parallel()
	dir := pathOf(t, map[string]string{"flood": "head -c 3000000 /dev/zero"})
	if _, err := (&Tools{}).run(t.Context(), filepath.Join(dir, "flood")); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
}
