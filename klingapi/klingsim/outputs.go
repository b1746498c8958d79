package klingsim

import (
	"bytes"
	_ "embed" // for the files that code cannot easily generate
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"math"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"time"
)

// linkLife is how long Kling keeps outputs. The simulator serves them forever.
const linkLife = 30 * 24 * time.Hour

// The lengths of the files that are served, as Kling writes them.
const (
	videoSeconds = "2.0"
	mp3Seconds   = "1.071"
	wavSeconds   = "1.0"
)

// addResult adds the outputs to a succeeded view, without URLs if the words choose that.
func (q *query) addResult(v *view) {
	if q.words[groupOutcome] == "nourl" {
		if n := q.relay.store.succeed(q.task); n <= bareSuccesses || q.words[groupRepeat] == "always" {
			v.result = q.bareResult(n)
			return
		}
	}
	result := make(item, len(q.kind.lists))
	for _, l := range q.kind.lists {
		items := make([]item, l.count)
		for i := range items {
			items[i] = q.output(l, i, v.updated)
		}
		result[l.name] = items
		if v.url == "" {
			v.url = firstURL(items[0])
		}
	}
	v.result = jsonReply(0, result).body
}

// bareResult returns a result without a URL, by n in turn: empty, null, with an empty list, with an empty URL.
func (q *query) bareResult(n int) json.RawMessage {
	name := q.kind.lists[0].name
	ways := []string{`{}`, `null`, `{"` + name + `":[]}`, `{"` + name + `":[{"id":"","url":""}]}`}
	return json.RawMessage(ways[(n-1)%len(ways)])
}

// output is one item of a result list.
func (q *query) output(l list, position int, ended int64) item {
	link := func(ext string) string {
		return q.fileURL(l.name+"-"+strconv.Itoa(position)+ext, ended)
	}
	id := strconv.FormatUint(numericID(q.relay.chance(q.seen.id, l.name, uint64(position))), 10)
	switch l.style {
	case imageByID:
		return item{"id": "", "url": link(".png")}
	case imageByIndex:
		return item{"index": q.index(position), "url": link(".png"), "watermark_url": link("-watermark.png")}
	case shots:
		return item{"index": q.index(position), "url_1": link("-1.png"), "url_2": link("-2.png"), "url_3": link("-3.png")}
	case audio:
		return item{
			"id":           id,
			"url_mp3":      link(".mp3"),
			"url_wav":      link(".wav"),
			"duration_mp3": q.decimal(mp3Seconds),
			"duration_wav": q.decimal(wavSeconds),
		}
	}
	clip := item{"id": id, "url": link(".mp4"), "watermark_url": ""}
	if l.style != videoBare {
		clip["duration"] = q.decimal(videoSeconds)
	}
	return clip
}

func (q *query) index(position int) any {
	if q.words[groupTypes] == "swapped" {
		return strconv.Itoa(position)
	}
	return position
}

// fileURL returns the URL of an output, with a signature that the file handler ignores, but that logs must not contain.
func (q *query) fileURL(name string, ended int64) string {
	base := q.relay.config.PublicURL
	if base == "" {
		base = "http://" + q.req.Host
		if q.req.TLS != nil {
			base = "https://" + q.req.Host
		}
	}
	var signature [16]byte
	binary.BigEndian.PutUint64(signature[:], q.relay.chance(q.seen.id, name, 1))
	binary.BigEndian.PutUint64(signature[8:], q.relay.chance(q.seen.id, name, 2))
	expires := (ended + linkLife.Milliseconds()) / 1000
	return fmt.Sprintf("%s%s%s-%s?x-kcdn-signature=%s&expires=%d",
		base, filesPath, url.PathEscape(q.seen.id), name, hex.EncodeToString(signature[:]), expires)
}

// firstURL returns the URL of an output that has several, for relays that send only one.
func firstURL(output item) string {
	for _, name := range []string{"url", "url_1", "url_mp3"} {
		if link, ok := output[name].(string); ok {
			return link
		}
	}
	return ""
}

// The embedded files: 2.0 s of H.264 (baseline, yuv420p, index in front) and 1 s of MP3, a few kB each.
//
//go:generate ffmpeg -loglevel error -y -f lavfi -i testsrc=size=320x180:rate=10:duration=2 -c:v libx264 -profile:v baseline -pix_fmt yuv420p -crf 36 -preset veryslow -bsf:v filter_units=remove_types=6 -movflags +faststart -fflags +bitexact -flags:v +bitexact files/output.mp4
//go:generate ffmpeg -loglevel error -y -f lavfi -i sine=frequency=440:sample_rate=22050:duration=1 -c:a libmp3lame -ac 1 -b:a 32k -id3v2_version 0 -fflags +bitexact -flags:a +bitexact files/output.mp3

//go:embed files/output.mp4
var mp4File []byte

//go:embed files/output.mp3
var mp3File []byte

// filesPath is where outputs are served, outside the API and without a key, as by a CDN.
const filesPath = "/files/"

// filesTime is the Last-Modified of all files, which never change.
var filesTime = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// serveFile serves an output of any task. The extension of the name is the type; the name decides picture and pitch.
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

// pngFile draws diagonal stripes on 256 x 256 pixels; the name decides their colours and width.
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
	_ = png.Encode(&body, picture) // writing to a buffer cannot fail
	return body.Bytes()
}

// wavFile is a tone of one second: PCM, mono, 16 bits, 8000 samples a second. The name decides the pitch.
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
