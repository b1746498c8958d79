package klingsim

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// linkLife is how long Kling keeps outputs. The simulator serves them for ever.
const linkLife = 30 * 24 * time.Hour

// The lengths of the files that are served, as Kling writes them.
const (
	videoSeconds = "2.0"
	mp3Seconds   = "1.071"
	wavSeconds   = "1.0"
)

// addResult gives a succeeded view its outputs, or withholds their URLs as the words ask.
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

// bareResult is the nth of the ways to succeed without a URL: empty result, null, empty list, empty URL.
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

// fileURL is the address of an output, signed for show. The file handler ignores the query, but logs must not show it.
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

// firstURL is the address by which relays that give only one name an output.
func firstURL(output item) string {
	for _, name := range []string{"url", "url_1", "url_mp3"} {
		if link, ok := output[name].(string); ok {
			return link
		}
	}
	return ""
}
