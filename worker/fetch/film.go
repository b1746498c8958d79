package fetch

import (
	"context"
	"encoding/json"
	"errors"
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

func (t *Tools) probe(ctx context.Context, path string) (probed, error) {
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
	const most = 24 * 60 * 60 // beyond it a header lies
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n > 0 && n < most) {
		return 0
	}
	return time.Duration(n * float64(time.Second)).Round(time.Millisecond)
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
