package fetch_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/worker/fetch"
)

// picture is half red, half transparent.
func picture(width, height int) image.Image {
	p := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width / 2 {
			p.SetNRGBA(x, y, color.NRGBA{R: 255, A: 255})
		}
	}
	return p
}

func encoded(t *testing.T, encode func(*bytes.Buffer) error) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := encode(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func pngOf(t *testing.T, p image.Image) []byte {
	return encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, p) })
}

// written puts content into a local file.
func written(t *testing.T, content []byte) *os.File {
	t.Helper()
	file := local(t)
	if _, err := file.Write(content); err != nil {
		t.Fatal(err)
	}
	return file
}

// webp is a lossless picture of one pixel.
const webp = "RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00"

func TestPicturesAreMeasuredAndMadeSmall(t *testing.T) {
	t.Parallel()
	jpegOf := func(w, h int) []byte {
		return encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, picture(w, h), nil) })
	}
	gifOf := encoded(t, func(b *bytes.Buffer) error { return gif.Encode(b, picture(600, 100), nil) })
	for name, c := range map[string]struct {
		content                 []byte
		contentType             string
		width, height           int
		smallWidth, smallHeight int
	}{
		"jpeg":                {jpegOf(600, 200), "image/jpeg", 600, 200, 480, 160},
		"png":                 {pngOf(t, picture(960, 101)), "image/png", 960, 101, 480, 51},
		"gif":                 {gifOf, "image/gif", 600, 100, 480, 80},
		"webp":                {[]byte(webp), "image/webp", 1, 1, 1, 1},
		"never larger":        {pngOf(t, picture(100, 50)), "image/png", 100, 50, 100, 50},
		"a strip":             {pngOf(t, picture(20, 4320)), "image/png", 20, 4320, 7, 1440},
		"a line":              {pngOf(t, picture(9600, 1)), "image/png", 9600, 1, 480, 1},
		"sixteen bit colours": {pngOf(t, image.NewNRGBA64(image.Rect(0, 0, 500, 50))), "image/png", 500, 50, 480, 48},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			thumbnail := local(t)
			file, thumb, err := new(fetch.Tools).Measure(t.Context(), fetch.File{Bytes: 7, ContentType: c.contentType}, written(t, c.content), thumbnail)
			if err != nil || file.Width != c.width || file.Height != c.height || file.Bytes != 7 {
				t.Fatalf("%+v, %v", file, err)
			}
			checkThumbnail(t, thumbnail, thumb, c.smallWidth, c.smallHeight)
		})
	}
}

func checkThumbnail(t *testing.T, thumbnail *os.File, thumb fetch.File, width, height int) {
	t.Helper()
	content, err := os.ReadFile(thumbnail.Name())
	if err != nil {
		t.Fatal(err)
	}
	cfg, format, err := image.DecodeConfig(bytes.NewReader(content))
	if err != nil || format != "jpeg" || cfg.Width != width || cfg.Height != height {
		t.Fatalf("the thumbnail is %s, %d x %d, %v; want %d x %d", format, cfg.Width, cfg.Height, err, width, height)
	}
	if thumb.Width != width || thumb.Height != height || thumb.Bytes != int64(len(content)) || thumb.SHA256 != digest(content) || thumb.ContentType != "image/jpeg" || thumb.Ext != "jpg" {
		t.Errorf("%+v", thumb)
	}
}

// A JPEG has no transparency; black would be the colour without one.
func TestWhatIsTransparentIsWhiteInAThumbnail(t *testing.T) {
	t.Parallel()
	thumbnail := local(t)
	_, _, err := new(fetch.Tools).Measure(t.Context(), fetch.File{ContentType: "image/png"}, written(t, pngOf(t, picture(500, 100))), thumbnail)
	if err != nil {
		t.Fatal(err)
	}
	small, err := jpeg.Decode(thumbnail)
	if err != nil {
		t.Fatal(err)
	}
	if r, g, b, _ := small.At(400, 50).RGBA(); r>>8 < 250 || g>>8 < 250 || b>>8 < 250 {
		t.Errorf("%d %d %d", r>>8, g>>8, b>>8)
	}
	if r, g, _, _ := small.At(100, 50).RGBA(); r>>8 < 250 || g>>8 > 10 {
		t.Errorf("the opaque half is not red: %d %d", r>>8, g>>8)
	}
}

// bomb is a PNG of a few bytes that claims to be of any size.
func bomb(width, height uint32) []byte {
	header := []byte("IHDR")
	header = binary.BigEndian.AppendUint32(header, width)
	header = binary.BigEndian.AppendUint32(header, height)
	header = append(header, 8, 6, 0, 0, 0)
	content := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), header...)
	return binary.BigEndian.AppendUint32(content, crc32.ChecksumIEEE(header))
}

func TestABombHasASizeAndNoThumbnail(t *testing.T) {
	t.Parallel()
	for _, size := range []uint32{30_000, 1 << 30} {
		file, thumb, err := new(fetch.Tools).Measure(t.Context(), fetch.File{ContentType: "image/png"}, written(t, bomb(size, size)), local(t))
		if thumb.Bytes != 0 || err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d: %+v, %+v, %v", size, file, thumb, err)
		}
		if size == 30_000 && (file.Width != 30_000 || file.Height != 30_000) {
			t.Errorf("%+v", file)
		}
	}
}

func TestABrokenPictureIsMeasuredAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	whole := pngOf(t, picture(300, 200))
	file, thumb, err := new(fetch.Tools).Measure(t.Context(), fetch.File{ContentType: "image/png"}, written(t, whole[:len(whole)/2]), local(t))
	if file.Width != 300 || file.Height != 200 || thumb.Bytes != 0 || err == nil {
		t.Errorf("%+v, %+v, %v", file, thumb, err)
	}
	file, thumb, err = new(fetch.Tools).Measure(t.Context(), fetch.File{ContentType: "image/avif"}, written(t, []byte("\x00\x00\x00\x1cftypavif")), local(t))
	if file.Width != 0 || thumb.Bytes != 0 || err == nil {
		t.Errorf("a format that nobody here can read: %+v, %+v, %v", file, thumb, err)
	}
}

var installed = sync.OnceValue(func() *fetch.Tools { return fetch.FindTools(context.Background()) })

// tools returns ffmpeg and ffprobe, or skips the test.
func tools(t *testing.T) *fetch.Tools {
	t.Helper()
	found := installed()
	switch {
	case found.Installed():
	case os.Getenv("CI") != "":
		t.Fatal("ffmpeg is not installed, and CI must run this test: apt-get install --no-install-recommends ffmpeg")
	default:
		t.Skip("SKIPPED: ffmpeg is not installed: apt-get install --no-install-recommends ffmpeg")
	}
	return found
}

// made is a file that ffmpeg makes of its arguments.
func made(t *testing.T, name string, args ...string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	args = append(append([]string{"-v", "error", "-nostdin"}, args...), path)
	if out, err := exec.CommandContext(t.Context(), "ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

const testVideo, testTone = "testsrc=duration=2:size=640x360:rate=10", "sine=frequency=440:duration=1.5"

func TestVideosAreMeasuredAndHaveAPoster(t *testing.T) {
	t.Parallel()
	tools := tools(t)
	if tools.FFmpeg.Version == "" || tools.FFprobe.Version == "" {
		t.Errorf("no versions: %+v, %+v", tools.FFmpeg, tools.FFprobe)
	}
	for name, c := range map[string]struct {
		file                                   *os.File
		contentType                            string
		width, height, smallWidth, smallHeight int
	}{
		"mp4":       {made(t, "a.mp4", "-f", "lavfi", "-i", testVideo), "video/mp4", 640, 360, 480, 270},
		"webm":      {made(t, "a.webm", "-f", "lavfi", "-i", testVideo, "-c:v", "libvpx"), "video/webm", 640, 360, 480, 270},
		"small":     {made(t, "b.mp4", "-f", "lavfi", "-i", "testsrc=duration=2:size=160x120:rate=10"), "video/mp4", 160, 120, 160, 120},
		"upright":   {made(t, "c.mp4", "-f", "lavfi", "-i", "testsrc=duration=2:size=360x640:rate=10"), "video/mp4", 360, 640, 360, 640},
		"one frame": {made(t, "d.mp4", "-f", "lavfi", "-i", "testsrc=duration=2:size=640x360:rate=0.5", "-frames:v", "1"), "video/mp4", 640, 360, 480, 270},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			thumbnail := local(t)
			file, thumb, err := tools.Measure(t.Context(), fetch.File{ContentType: c.contentType}, c.file, thumbnail)
			if err != nil || file.Width != c.width || file.Height != c.height || file.Duration.Round(100*time.Millisecond) != 2*time.Second {
				t.Fatalf("%+v, %v", file, err)
			}
			checkThumbnail(t, thumbnail, thumb, c.smallWidth, c.smallHeight)
		})
	}
}

// A phone stores an upright clip lying, with a note to turn it.
func TestATurnedVideoIsMeasuredAsItIsShown(t *testing.T) {
	t.Parallel()
	tools := tools(t)
	lying := made(t, "a.mp4", "-f", "lavfi", "-i", testVideo)
	turned := made(t, "b.mp4", "-i", lying.Name(), "-c", "copy", "-metadata:s:v:0", "rotate=90")
	thumbnail := local(t)
	file, thumb, err := tools.Measure(t.Context(), fetch.File{ContentType: "video/mp4"}, turned, thumbnail)
	if err != nil || file.Width != 360 || file.Height != 640 {
		t.Fatalf("%+v, %v", file, err)
	}
	checkThumbnail(t, thumbnail, thumb, 360, 640)
}

// To start ffprobe takes longer than to fetch and store a short clip.
func TestAnOrdinaryClipIsMeasuredWithoutFFprobe(t *testing.T) {
	t.Parallel()
	without := *tools(t)
	without.FFprobe.Path = "/bin/false"
	clip := made(t, "a.mp4", "-f", "lavfi", "-i", testVideo)
	thumbnail := local(t)
	file, thumb, err := without.Measure(t.Context(), fetch.File{Bytes: sizeOf(t, clip), ContentType: "video/mp4"}, clip, thumbnail)
	if err != nil || file.Width != 640 || file.Height != 360 || file.Duration != 2*time.Second {
		t.Fatalf("%+v, %v", file, err)
	}
	checkThumbnail(t, thumbnail, thumb, 480, 270)
}

func sizeOf(t *testing.T, file *os.File) int64 {
	t.Helper()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// What an index tells is what ffprobe tells, and it tells nothing where it is no index.
func TestTheIndexOfAClipTellsItsSizeAndLength(t *testing.T) {
	t.Parallel()
	tools(t)
	lying := made(t, "a.mp4", "-f", "lavfi", "-i", testVideo)
	for name, c := range map[string]struct {
		file          *os.File
		width, height int
		duration      time.Duration // 0: it does not tell
	}{
		"index behind":   {lying, 640, 360, 2 * time.Second},
		"index in front": {made(t, "b.mp4", "-i", lying.Name(), "-c", "copy", "-movflags", "+faststart"), 640, 360, 2 * time.Second},
		"turned":         {made(t, "c.mp4", "-i", lying.Name(), "-c", "copy", "-metadata:s:v:0", "rotate=90"), 360, 640, 2 * time.Second},
		"upside down":    {made(t, "d.mp4", "-i", lying.Name(), "-c", "copy", "-metadata:s:v:0", "rotate=180"), 640, 360, 2 * time.Second},
		"with sound":     {made(t, "e.mp4", "-f", "lavfi", "-i", testTone, "-i", lying.Name(), "-c:v", "copy", "-map", "0", "-map", "1"), 640, 360, 2 * time.Second},
		"QuickTime":      {made(t, "f.mov", "-i", lying.Name(), "-c", "copy"), 640, 360, 2 * time.Second},
		"parted":         {made(t, "g.mp4", "-i", lying.Name(), "-c", "copy", "-movflags", "frag_keyframe+empty_moov"), 0, 0, 0},
		"sound alone":    {made(t, "h.mp4", "-f", "lavfi", "-i", testTone), 0, 0, 0},
		"no box":         {written(t, []byte("no box at all")), 0, 0, 0},
	} {
		width, height, duration, ok := fetch.ReadMovie(c.file, sizeOf(t, c.file))
		if ok != (c.duration > 0) || ok && (width != c.width || height != c.height || duration != c.duration) {
			t.Errorf("%s: %d x %d, %s, %v", name, width, height, duration, ok)
		}
	}
}

// Whatever an index says, reading it ends, and soon.
func TestAnyIndexIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	tools(t)
	clip := made(t, "a.mp4", "-f", "lavfi", "-i", testVideo, "-movflags", "+faststart")
	whole, err := os.ReadFile(clip.Name())
	if err != nil {
		t.Fatal(err)
	}
	for at := range min(len(whole), 2000) {
		broken := bytes.Clone(whole)
		broken[at] ^= 0xff
		fetch.ReadMovie(bytes.NewReader(broken[:len(broken)-at]), int64(len(broken)-at))
	}
	small := bytes.Repeat([]byte("\x00\x00\x00\x08free"), 200_000)
	if _, _, _, ok := fetch.ReadMovie(bytes.NewReader(small), int64(len(small))); ok {
		t.Error("boxes of nothing are a film")
	}
}

func TestSoundHasADurationAlone(t *testing.T) {
	t.Parallel()
	tools := tools(t)
	cover := made(t, "cover.png", "-f", "lavfi", "-i", "testsrc=size=64x64", "-frames:v", "1")
	for contentType, sound := range map[string]*os.File{
		"audio/mpeg": made(t, "a.mp3", "-f", "lavfi", "-i", testTone, "-i", cover.Name(), "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic"),
		"audio/wav":  made(t, "a.wav", "-f", "lavfi", "-i", testTone),
		"audio/mp4":  made(t, "a.m4a", "-f", "lavfi", "-i", testTone),
		"video/mp4":  made(t, "a.mp4", "-f", "lavfi", "-i", testTone), // announced as a video
	} {
		file, thumb, err := tools.Measure(t.Context(), fetch.File{ContentType: contentType}, sound, local(t))
		if err != nil || file.Width != 0 || file.Height != 0 || thumb.Bytes != 0 || file.Duration.Round(100*time.Millisecond) != 1500*time.Millisecond {
			t.Errorf("%s: %+v, %+v, %v", contentType, file, thumb, err)
		}
	}
}

// A playlist makes ffmpeg read what it names, files of this machine included.
func TestNoOtherFileIsReadThanTheOneThatIsMeasured(t *testing.T) {
	t.Parallel()
	tools := tools(t)
	secret := made(t, "secret.ts", "-f", "lavfi", "-i", testVideo)
	for name, text := range map[string]string{
		"HLS":    "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n" + secret.Name() + "\n#EXT-X-ENDLIST\n",
		"concat": "ffconcat version 1.0\nfile '" + secret.Name() + "'\n",
		"http":   "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n",
	} {
		file, thumb, err := tools.Measure(t.Context(), fetch.File{ContentType: "video/mp4"}, written(t, []byte(text)), local(t))
		if err == nil || file.Width != 0 || thumb.Bytes != 0 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %+v, %+v, %v", name, file, thumb, err)
		}
	}
}

func TestABrokenVideoIsNoErrorOfAProgram(t *testing.T) {
	t.Parallel()
	file, thumb, err := tools(t).Measure(t.Context(), fetch.File{Bytes: 9, ContentType: "video/mp4"}, written(t, clip(1 << 20)[:1000]), local(t))
	if err == nil || strings.Contains(err.Error(), "\n") || file.Bytes != 9 || thumb.Bytes != 0 {
		t.Errorf("%+v, %+v, %v", file, thumb, err)
	}
}

func TestMeasuringEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := new(fetch.Tools).Measure(ctx, fetch.File{ContentType: "video/mp4"}, local(t), local(t)); err == nil {
		t.Error("no error")
	}
}
