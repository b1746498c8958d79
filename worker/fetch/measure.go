package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	stdimage "image"
)

// pictures and films are measured one at a time in a process, for the memory that it takes;
// a picture does not wait for ffmpeg.
var pictures, films = make(chan struct{}, 1), make(chan struct{}, 1)

// Measure returns the file with its width, height and duration as far as they can be
// known, and writes a thumbnail into another local file: a JPEG, 480 pixels wide at
// most. A thumbnail of no bytes means that there is none. The error says why something
// is missing, for a log; none is a reason not to keep the file. local must still be
// found under its name. Measure waits while another file is measured: a large picture
// takes up to 320 MB.
func (t *Tools) Measure(ctx context.Context, f File, local, thumbnail *os.File) (measured, thumb File, err error) {
	kind, _, _ := strings.Cut(f.ContentType, "/")
	turn := films
	if kind == image {
		turn = pictures
	}
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return f, File{}, context.Cause(ctx)
	}
	var small []byte
	if kind == image {
		small, err = measurePicture(&f, local)
	} else {
		small, err = t.measureFilm(ctx, &f, local)
	}
	if err == nil && len(small) > 0 {
		thumb, err = writeThumbnail(small, thumbnail)
	}
	if err != nil {
		err = fmt.Errorf("measuring a file of type %s: %w", f.ContentType, err)
	}
	return f, thumb, err
}

// measurePicture fills in the size of a picture and returns it as a small JPEG.
// Decoders of pictures have panicked before.
func measurePicture(f *File, local *os.File) (small []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			small, err = nil, fmt.Errorf("reading the picture: %v", r)
		}
	}()
	cfg, err := pictureSize(local)
	if err != nil {
		return nil, err
	}
	f.Width, f.Height = cfg.Width, cfg.Height
	return shrunk(local, cfg)
}

// measureFilm fills in what a video or audio file, or ffprobe, tells of it and returns a
// frame of a video as a small JPEG.
func (t *Tools) measureFilm(ctx context.Context, f *File, local *os.File) (small []byte, err error) {
	if !t.Installed() {
		return nil, errNotInstalled
	}
	ctx, cancel := context.WithTimeout(ctx, filmTimeout)
	defer cancel()
	p, err := t.probe(ctx, local.Name(), local, *f)
	if err != nil {
		return nil, err
	}
	f.Duration = p.duration
	if !strings.HasPrefix(f.ContentType, video+"/") || p.width == 0 {
		return nil, nil
	}
	f.Width, f.Height = p.width, p.height
	return t.poster(ctx, local.Name(), p.duration)
}

// writeThumbnail writes a small JPEG into its file.
func writeThumbnail(small []byte, into *os.File) (File, error) {
	cfg, format, err := stdimage.DecodeConfig(bytes.NewReader(small))
	if err != nil {
		return File{}, err
	}
	if format != "jpeg" {
		return File{}, errors.New("the thumbnail is no JPEG")
	}
	if err := into.Truncate(0); err != nil {
		return File{}, err
	}
	if _, err := into.WriteAt(small, 0); err != nil {
		return File{}, err
	}
	sum := sha256.Sum256(small)
	return File{
		Bytes: int64(len(small)), SHA256: hex.EncodeToString(sum[:]), ContentType: "image/jpeg", Ext: "jpg",
		Width: cfg.Width, Height: cfg.Height,
	}, nil
}
