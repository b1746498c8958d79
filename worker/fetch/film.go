package fetch

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"math"
	"path/filepath"
	"strconv"
	"time"
)

// readers of formats that may be used on a file of somebody else: none that opens
// other files or addresses, as playlists do.
const readers = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpeg,mpegts,mpegvideo,ogg,asf,mp3,wav,flac,aac,aiff,amr"

// input are the options of a file of which nothing is trusted.
func input(path string) ([]string, error) {
	absolute, err := filepath.Abs(path)
	return []string{"-protocol_whitelist", "file,pipe", "-format_whitelist", readers, "-i", "file:" + absolute}, err
}

// probed is what ffprobe tells.
type probed struct {
	width, height int // as it is shown; 0: there is no video in it
	duration      time.Duration
}

// probe asks the file itself, or ffprobe where that is no ordinary MP4: to start a program
// takes longer than all else that is done to a short clip.
func (t *Tools) probe(ctx context.Context, path string, file io.ReaderAt, f File) (probed, error) {
	if f.ContentType == "video/mp4" || f.ContentType == "video/quicktime" {
		if p, ok := readMovie(file, f.Bytes); ok {
			return p, nil
		}
	}
	return t.askProbe(ctx, path)
}

func (t *Tools) askProbe(ctx context.Context, path string) (probed, error) {
	from, err := input(path)
	if err != nil {
		return probed{}, err
	}
	args := append([]string{"-v", "error", "-of", "json", "-show_entries",
		"format=duration:stream=codec_type,width,height:stream_disposition=attached_pic:stream_side_data=rotation"}, from...)
	out, err := t.run(ctx, t.FFprobe.Path, args...)
	if err != nil {
		return probed{}, err
	}
	return readProbe(out)
}

// readProbe reads the JSON of ffprobe.
func readProbe(text []byte) (probed, error) {
	var told struct {
		Streams []struct {
			Type          string `json:"codec_type"`
			Width, Height int
			Disposition   struct {
				Picture int `json:"attached_pic"` // the cover of a song
			}
			SideData []struct{ Rotation float64 } `json:"side_data_list"`
		}
		Format struct{ Duration string }
	}
	if err := json.Unmarshal(text, &told); err != nil {
		return probed{}, errors.New("ffprobe printed no JSON")
	}
	p := probed{duration: seconds(told.Format.Duration)}
	for _, s := range told.Streams {
		if s.Type != video || s.Disposition.Picture != 0 || s.Width <= 0 || s.Height <= 0 {
			continue
		}
		p.width, p.height = s.Width, s.Height
		for _, data := range s.SideData {
			if math.Mod(math.Abs(data.Rotation), 180) == 90 {
				p.width, p.height = s.Height, s.Width
			}
		}
		break
	}
	return p, nil
}

// seconds reads a duration of ffprobe; 0 where it is none.
func seconds(text string) time.Duration {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return durationOf(n)
}

// durationOf returns a number of seconds as a duration; 0 where it is none.
func durationOf(n float64) time.Duration {
	const most = 24 * 60 * 60 // beyond it a header lies
	if !(n > 0 && n < most) {
		return 0
	}
	return time.Duration(n * float64(time.Second)).Round(time.Millisecond)
}

// readMovie reads the index of an MP4 file: how long it is, and how large the picture of
// its first video. It is not ok where the index does not tell, as in parted films.
func readMovie(file io.ReaderAt, size int64) (p probed, ok bool) {
	for track := range within(file, box{to: size}, "moov", "trak") {
		if p.width == 0 {
			p.width, p.height = sizeOfTrack(file, track)
		}
	}
	for header := range within(file, box{to: size}, "moov", "mvhd") {
		p.duration = durationOfMovie(at(file, header.from, 32))
	}
	for range within(file, box{to: size}, "moov", "mvex") { // its parts tell the duration
		return probed{}, false
	}
	return p, p.width > 0 && p.height > 0 && p.duration > 0
}

// within goes over the boxes at the end of a path of kinds.
func within(file io.ReaderAt, b box, path ...string) iter.Seq[box] {
	return func(yield func(box) bool) {
		for inner, whole := range boxes(file, b.from, b.to) {
			if !whole || inner.kind == path[0] && len(path) == 1 && !yield(inner) {
				return
			}
			if inner.kind != path[0] || len(path) == 1 {
				continue
			}
			for found := range within(file, inner, path[1:]...) {
				if !yield(found) {
					return
				}
			}
		}
	}
}

// durationOfMovie reads the header of a movie.
func durationOfMovie(header []byte) time.Duration {
	switch {
	case len(header) < 32:
		return 0
	case header[0] == 1:
		return durationOf(float64(binary.BigEndian.Uint64(header[24:])) / float64(binary.BigEndian.Uint32(header[20:])))
	}
	return durationOf(float64(binary.BigEndian.Uint32(header[16:])) / float64(binary.BigEndian.Uint32(header[12:])))
}

// sizeOfTrack returns the size of the pictures of a video as they are shown; 0 where the
// track has none.
func sizeOfTrack(file io.ReaderAt, track box) (width, height int) {
	for handler := range within(file, track, "mdia", "hdlr") {
		if string(at(file, handler.from+8, 4)) != "vide" {
			return 0, 0
		}
	}
	for format := range within(file, track, "mdia", "minf", "stbl", "stsd") {
		if size := at(file, format.from+40, 4); len(size) == 4 { // of the first entry
			width, height = int(binary.BigEndian.Uint16(size)), int(binary.BigEndian.Uint16(size[2:]))
		}
	}
	for header := range within(file, track, "tkhd") {
		const beforeMatrix = 40
		matrix := header.from + beforeMatrix
		if version := at(file, header.from, 1); len(version) == 1 && version[0] == 1 {
			matrix += 12 // its times are longer
		}
		if m := at(file, matrix, 8); len(m) == 8 && binary.BigEndian.Uint32(m) == 0 && binary.BigEndian.Uint32(m[4:]) != 0 {
			return height, width // turned to its side
		}
	}
	return width, height
}

// poster returns a frame of a video as a small JPEG: one after a tenth, because the
// first is often black, or the first where there is none that late.
func (t *Tools) poster(ctx context.Context, path string, duration time.Duration) ([]byte, error) {
	small, err := t.frame(ctx, path, duration/10)
	if err == nil && len(small) > 0 || duration == 0 {
		return small, err
	}
	return t.frame(ctx, path, 0)
}

func (t *Tools) frame(ctx context.Context, path string, at time.Duration) ([]byte, error) {
	from, err := input(path)
	if err != nil {
		return nil, err
	}
	args := []string{"-v", "error", "-nostdin", "-threads", "1", "-filter_threads", "1", "-ss", strconv.FormatFloat(at.Seconds(), 'f', 3, 64)}
	args = append(args, from...)
	args = append(args, "-map", "0:V:0", "-frames:v", "1", "-vf", scaling, "-threads", "1", "-q:v", "4", "-f", "mjpeg", "pipe:1")
	return t.run(ctx, t.FFmpeg.Path, args...)
}

// scaling makes a frame fit into a thumbnail, never larger than it was.
var scaling = "scale=w='min(" + strconv.Itoa(thumbnailWidth) + ",iw)':h='min(" + strconv.Itoa(thumbnailHeight) + ",ih)':force_original_aspect_ratio=decrease:force_divisible_by=2"
