package klingsim

import (
	"bytes"
	"cmp"
	_ "embed" // for the files that code cannot easily generate
	"encoding/base64"
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
	"slices"
	"strconv"
	"time"
)

// linkLife is how long Kling keeps outputs.
const linkLife = 30 * 24 * time.Hour

// fileLife is how long files are served after the end of their task.
func (r *Relay) fileLife() time.Duration { return cmp.Or(r.config.FileLife, linkLife) }

// shortLife is how long the links of `s3` and `sas` say that they are good for.
const shortLife = time.Hour

// The lengths of the files that are served, as Kling writes them.
const (
	videoSeconds = "2.0"
	mp3Seconds   = "1.071"
	wavSeconds   = "1.0"
)

// addResult adds the outputs to a succeeded view, without URLs if the words choose that.
func (q *query) addResult(v *view) {
	missing := 0 // how many answers have lacked a URL
	switch word := q.words[groupOutcome]; word {
	case "element", "voice":
		v.result = resultWithoutFiles[word]
		return
	case "nourl", "latefile":
		missing = q.relay.store.succeed(q.task)
		if missing > bareSuccesses && q.words[groupRepeat] != "always" {
			missing = 0
		} else if word == "nourl" {
			v.result = q.bareResult(missing)
			return
		}
	}
	result := make(item, len(q.kind.lists))
	for _, l := range q.kind.lists {
		items := make([]item, l.count)
		for i := range items {
			items[i] = q.output(l, i, v.updated)
			if missing > 0 && len(v.files) == 0 {
				withoutURL(items[i])
			}
			v.files = append(v.files, filesOf(l, items[i])...)
		}
		result[l.name] = items
	}
	v.url = v.files[0].url
	if q.words[groupLink] == "placeholderonly" {
		v.result = q.bareResult(3)
		return
	}
	v.result = jsonReply(0, result).body
}

// resultWithoutFiles are the results of tasks that make no file.
var resultWithoutFiles = map[string]json.RawMessage{
	"element": json.RawMessage(`{"elements":[{"element_id":829,"element_name":"cat"}]}`),
	"voice":   json.RawMessage(`{"voices":[{"voice_id":"voice-829","trial_url":"http://cdn.example/trial.mp3"}]}`),
}

// withoutURL empties the URLs of an output.
func withoutURL(output item) {
	for _, name := range urlNames {
		if _, ok := output[name]; ok {
			output[name] = ""
		}
	}
}

// urlNames are the fields of an output with a URL, in order.
var urlNames = []string{"url", "url_1", "url_2", "url_3", "url_mp3", "url_wav"}

// filesOf lists the files of an output.
func filesOf(l list, output item) []madeFile {
	var files []madeFile
	for _, name := range urlNames {
		url, ok := output[name].(string)
		if !ok {
			continue
		}
		file := madeFile{kind: "image", url: url}
		file.id, _ = output["id"].(string)
		switch {
		case l.style == audio:
			file.kind, file.seconds = "audio", map[string]string{"url_mp3": mp3Seconds, "url_wav": wavSeconds}[name]
		case l.style >= video:
			file.kind, file.seconds = "video", videoSeconds
		}
		files = append(files, file)
	}
	return files
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
	name = url.PathEscape(q.seen.id) + "-" + name
	if word := q.words[groupLink]; word == "inline" || word == "inlinehuge" {
		return inlineURL(name, word == "inlinehuge")
	}
	var signature [16]byte
	binary.BigEndian.PutUint64(signature[:], q.relay.chance(name, "signature", 1))
	binary.BigEndian.PutUint64(signature[8:], q.relay.chance(name, "signature", 2))
	base, signed, text := cmp.Or(q.relay.config.PublicURL, q.ownURL())+filesPath+name, time.UnixMilli(ended).UTC(), hex.EncodeToString(signature[:])
	switch q.words[groupLink] {
	case "s3":
		return fmt.Sprintf("%s?X-Amz-Date=%s&X-Amz-Expires=%.0f&X-Amz-Signature=%s", base, signed.Format("20060102T150405Z"), shortLife.Seconds(), text)
	case "sas":
		return fmt.Sprintf("%s?sp=r&se=%s&sig=%s", base, url.QueryEscape(signed.Add(shortLife).Format(time.RFC3339)), text)
	}
	return fmt.Sprintf("%s?x-kcdn-signature=%s&expires=%d", base, text, signed.Add(q.relay.fileLife()).Unix())
}

// ownURL returns the scheme and host of the request.
func (q *query) ownURL() string {
	if q.req.TLS != nil {
		return "https://" + q.req.Host
	}
	return "http://" + q.req.Host
}

// hugeInline is more than klingapi takes of a data: URL, in bytes.
const hugeInline = 80 << 10

// inlineURL returns a file as a data: URL; a huge one ends in zeros.
func inlineURL(name string, huge bool) string {
	body, mediaType := fileNamed(name)
	if huge {
		body = append(slices.Clip(body), make([]byte, hugeInline)...)
	}
	return "data:" + mediaType + ";base64," + base64.StdEncoding.EncodeToString(body)
}

// The embedded files: 2.0 s of H.264 (baseline, yuv420p, index in front) and 1 s of MP3, a few kB each.
//
//go:generate ffmpeg -loglevel error -y -f lavfi -i testsrc=size=320x180:rate=10:duration=2 -c:v libx264 -profile:v baseline -pix_fmt yuv420p -crf 36 -preset veryslow -bsf:v filter_units=remove_types=6 -movflags +faststart -fflags +bitexact -flags:v +bitexact files/output.mp4
//go:generate ffmpeg -loglevel error -y -f lavfi -i sine=frequency=440:sample_rate=22050:duration=1 -c:a libmp3lame -ac 1 -b:a 32k -id3v2_version 0 -fflags +bitexact -flags:a +bitexact files/output.mp3

//go:embed files/output.mp4
var mp4File []byte

//go:embed files/output.mp3
var mp3File []byte

// Clip is the MP4 that a video task has as its output.
func Clip() []byte { return bytes.Clone(mp4File) }

// filesPath is where outputs are served, outside the API and without a key, as by a CDN.
const filesPath = "/files/"

// filesTime is the Last-Modified of all files, which never change.
var filesTime = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// serveFile serves an output of any task. The extension of its name chooses the type, the name the picture or the pitch.
func (r *Relay) serveFile(w http.ResponseWriter, req *http.Request, name string) {
	body, mediaType := fileNamed(name)
	if body == nil || r.isCleared(req.URL.Query()) {
		notFoundPage.write(w)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	http.ServeContent(w, req, name, filesTime, bytes.NewReader(body))
}

// isCleared reports whether the file behind a link of ours is gone: its life has passed, or it was cleared.
func (r *Relay) isCleared(query url.Values) bool {
	ended := r.endOf(query)
	if ended.IsZero() {
		return false // not a link of ours: somebody looks at a file
	}
	return !r.config.Now().Before(ended.Add(r.fileLife())) || ended.UnixMilli() < r.cleared.Load()
}

// endOf reads from a link when its task ended; zero: it does not say.
func (r *Relay) endOf(query url.Values) (ended time.Time) {
	switch {
	case query.Has("expires"):
		if seconds, err := strconv.ParseInt(query.Get("expires"), 10, 64); err == nil {
			ended = time.Unix(seconds, 0).Add(-r.fileLife())
		}
	case query.Has("X-Amz-Date"):
		ended, _ = time.Parse("20060102T150405Z", query.Get("X-Amz-Date"))
	case query.Has("se"):
		if until, err := time.Parse(time.RFC3339, query.Get("se")); err == nil {
			ended = until.Add(-shortLife)
		}
	}
	return ended
}

// fileNamed returns a file and its media type; nil for an unknown extension.
func fileNamed(name string) (body []byte, mediaType string) {
	switch path.Ext(name) {
	case ".png":
		return pngFile(name), "image/png"
	case ".mp4":
		return mp4File, "video/mp4"
	case ".mp3":
		return mp3File, "audio/mpeg"
	case ".wav":
		return wavFile(name), "audio/wav"
	}
	return nil, ""
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
