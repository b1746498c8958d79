package klingsim

import (
	"bytes"
	_ "embed" // for the files that code cannot easily make
	"encoding/binary"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"math"
	"net/http"
	"path"
	"time"
)

// The embedded files: 2.0 s of H.264 (baseline, yuv420p, index in front) and 1 s of MP3, a few kB each.
//
//go:generate ffmpeg -loglevel error -y -f lavfi -i testsrc=size=320x180:rate=10:duration=2 -c:v libx264 -profile:v baseline -pix_fmt yuv420p -crf 36 -preset veryslow -bsf:v filter_units=remove_types=6 -movflags +faststart -fflags +bitexact -flags:v +bitexact files/output.mp4
//go:generate ffmpeg -loglevel error -y -f lavfi -i sine=frequency=440:sample_rate=22050:duration=1 -c:a libmp3lame -ac 1 -b:a 32k -id3v2_version 0 -fflags +bitexact -flags:a +bitexact files/output.mp3

//go:embed files/output.mp4
var mp4File []byte

//go:embed files/output.mp3
var mp3File []byte

// filesPath is where outputs lie, outside the API and without a key, as at a CDN.
const filesPath = "/files/"

// filesTime is the Last-Modified of all files; a fixed one, since nothing changes them.
var filesTime = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// serveFile serves an output of any task: its name ends in the type, and decides the picture or the pitch.
func (r *Relay) serveFile(w http.ResponseWriter, req *http.Request, name string) {
	var body []byte
	var mediaType string
	switch path.Ext(name) {
	case ".png":
		body, mediaType = pngFile(name), "image/png"
	case ".mp4":
		body, mediaType = mp4File, "video/mp4"
	case ".mp3":
		body, mediaType = mp3File, "audio/mpeg"
	case ".wav":
		body, mediaType = wavFile(name), "audio/wav"
	default:
		notFoundPage.write(w)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	http.ServeContent(w, req, name, filesTime, bytes.NewReader(body))
}

func nameHash(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return mix(h.Sum64())
}

// pngFile draws 256 x 256 points of diagonal stripes, whose colours and width the name decides.
func pngFile(name string) []byte {
	const size = 256
	h := nameHash(name)
	palette := color.Palette{
		color.RGBA{byte(h), byte(h >> 8), byte(h >> 16), 255},
		color.RGBA{byte(h >> 24), byte(h >> 32), byte(h >> 40), 255},
	}
	width := 8 + int(h>>48%24)
	picture := image.NewPaletted(image.Rect(0, 0, size, size), palette)
	for y := range size {
		for x := range size {
			picture.Pix[y*picture.Stride+x] = byte((x + y) / width % 2)
		}
	}
	var body bytes.Buffer
	_ = png.Encode(&body, picture) // a buffer takes everything
	return body.Bytes()
}

// wavFile sounds a tone of one second: PCM, mono, 16 bits, 8000 samples a second. The name decides the pitch.
func wavFile(name string) []byte {
	const rate, width = 8000, 2 // samples per second, bytes per sample
	const size = rate * width
	pitch := 220 + float64(nameHash(name)%440)

	body := make([]byte, 0, 44+size)
	le := binary.LittleEndian
	body = append(body, "RIFF"...)
	body = le.AppendUint32(body, 36+size)
	body = append(body, "WAVEfmt "...)
	body = le.AppendUint32(body, 16)         // bytes of the format chunk
	body = le.AppendUint16(body, 1)          // PCM
	body = le.AppendUint16(body, 1)          // channels
	body = le.AppendUint32(body, rate)       // samples per second
	body = le.AppendUint32(body, rate*width) // bytes per second
	body = le.AppendUint16(body, width)      // bytes per sample of all channels
	body = le.AppendUint16(body, 8*width)    // bits per sample
	body = append(body, "data"...)
	body = le.AppendUint32(body, size)
	for i := range rate {
		sample := 8000 * math.Sin(2*math.Pi*pitch*float64(i)/rate)
		body = le.AppendUint16(body, uint16(int16(sample)))
	}
	return body
}
