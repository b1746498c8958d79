package klingapi

import (
	"net/url"
	"path"
	"strconv"
	"strings"
)

// resultLists are the lists of a task_result, in the order in which their files are
// numbered, with the kind of their items.
var resultLists = []struct {
	key  string
	kind Kind
}{
	{"images", Image},
	{"series_images", Image},
	{"videos", Video},
	{"audios", Audio},
}

// maxNumberedURLs bounds url_1, url_2 and so on of one item (ai-multi-shot has three).
const maxNumberedURLs = 16

// findOutputs returns the files of the outermost node that has any. new-api puts the
// URL to use beside them (result_url; old builds: fail_reason).
func findOutputs(nodes []node, ref Ref) []Output {
	var l outputList
	for _, n := range nodes {
		l.addResult(n.object["task_result"], ref)
		if len(l.outputs) == 0 {
			l.addFlat(n.object, ref)
		}
		if len(l.outputs) > 0 {
			break
		}
	}
	for _, n := range nodes {
		for _, key := range []string{"result_url", "fail_reason"} {
			if u := n.text(key); isURL(u) {
				return l.preferring(u, ref)
			}
		}
	}
	return l.outputs
}

// outputList numbers outputs per kind as they are added.
type outputList struct {
	outputs []Output
	next    map[Kind]int
}

func (l *outputList) add(o Output) {
	if !isURL(o.URL) {
		return
	}
	if l.next == nil {
		l.next = map[Kind]int{}
	}
	o.Position = l.next[o.Kind]
	l.next[o.Kind]++
	l.outputs = append(l.outputs, o)
}

// addResult reads a task_result: an object of lists, or at some relays a list or a
// single file.
func (l *outputList) addResult(result any, ref Ref) {
	switch result := result.(type) {
	case object:
		l.addLists(result)
		if len(l.outputs) == 0 {
			l.addItem(kindOf(result.text("url"), ref), result)
		}
	case []any:
		l.addItems(result, func(url string) Kind { return kindOf(url, ref) })
	}
}

// addLists reads {"images": [...], "videos": [...], "audios": [...]}, where a list of
// one may be the item itself.
func (l *outputList) addLists(o object) {
	for _, list := range resultLists {
		items, ok := o[list.key].([]any)
		if !ok {
			items = []any{o[list.key]}
		}
		l.addItems(items, func(string) Kind { return list.kind })
	}
}

// addItems reads items that are objects or bare URLs.
func (l *outputList) addItems(items []any, kind func(url string) Kind) {
	for _, item := range items {
		switch item := item.(type) {
		case object:
			l.addItem(kind(item.text("url")), item)
		case string:
			url := strings.TrimSpace(item)
			l.add(Output{Kind: kind(url), URL: url})
		}
	}
}

// addItem reads {id,url,watermark_url,duration}, {index,url_1,url_2,url_3} and
// {id,url_mp3,url_wav,duration_mp3,duration_wav}.
func (l *outputList) addItem(kind Kind, item object) {
	add := func(urlKey, durationKey string) {
		l.add(Output{
			Kind:            kind,
			URL:             item.text(urlKey),
			UpstreamID:      item.text("id"),
			DurationSeconds: item.decimal(durationKey),
			WatermarkURL:    item.text("watermark_url"),
		})
	}
	add("url", "duration")
	add("url_mp3", "duration_mp3")
	add("url_wav", "duration_wav")
	for i := 1; i <= maxNumberedURLs; i++ {
		add("url_"+strconv.Itoa(i), "duration")
	}
}

// flatURLs are the fields in which flat relays put a URL beside the status.
var flatURLs = []string{"url", "video_url", "image_url", "audio_url"}

// addFlat reads relays that put the file beside the status: a URL, lists as in
// task_result, or "data" or "output" as a list of items.
func (l *outputList) addFlat(o object, ref Ref) {
	for _, key := range flatURLs {
		if u := o.text(key); isURL(u) {
			l.add(Output{Kind: kindOf(u, ref), URL: u, DurationSeconds: o.decimal("duration"), WatermarkURL: o.text("watermark_url")})
			return
		}
	}
	l.addLists(o)
	for _, key := range []string{"data", "output"} {
		if items, ok := o[key].([]any); ok && len(l.outputs) == 0 {
			l.addItems(items, func(url string) Kind { return kindOf(url, ref) })
		}
	}
}

// preferring replaces the URL of the first output by u and keeps the rest of it.
func (l *outputList) preferring(u string, ref Ref) []Output {
	if len(l.outputs) == 0 {
		l.add(Output{Kind: kindOf(u, ref), URL: u})
	}
	l.outputs[0].URL = u
	return l.outputs
}

var kindOfExtension = map[string]Kind{
	".png": Image, ".jpg": Image, ".jpeg": Image, ".webp": Image, ".gif": Image,
	".mp4": Video, ".m4v": Video, ".mov": Video, ".webm": Video,
	".mp3": Audio, ".wav": Audio, ".m4a": Audio, ".ogg": Audio,
}

// kindOf returns the kind of a bare URL by its extension, else by the action.
func kindOf(raw string, ref Ref) Kind {
	if u, err := url.Parse(raw); err == nil {
		if kind, ok := kindOfExtension[strings.ToLower(path.Ext(u.Path))]; ok {
			return kind
		}
	}
	switch ref.Action {
	case "images", "general":
		return Image
	case "audio":
		return Audio
	}
	return Video
}

// isURL reports whether a text is an absolute http(s) URL.
func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
