package klingapi

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// MaxInline is the longest data: URL that is taken as an output, in bytes: webhooks
// carry it.
const MaxInline = 64 << 10

// files are what a record names.
type files struct {
	outputs    []Output
	incomplete bool // an item has no URL yet
	tooLarge   int  // data: URLs beyond MaxInline that were left out
}

// fileOrder is the order in which the fields of one object are looked at: what is
// listed, then what stands beside it. Any other field follows, by its name.
var fileOrder = []string{
	"outputs", "task_result", "images", "image", "series_images", "videos", "video", "audios", "audio", "video_result", "image_result", "audio_result",
	"works", "resource_without_watermark", "resource", "result", "results", "output", "result_json", "clips", "files", "file",
	"url", "urls", "result_url", "result_urls", "video_url", "video_urls", "image_url", "image_urls", "audio_url", "audio_urls", "mp3_url", "url_mp3", "wav_url", "url_wav",
	"download_url", "file_url", "media_url", "metadata", "data",
}

// fileFields may hold a URL without a telling extension.
var fileFields = regexp.MustCompile(`^(url|urls|uri|src|link|image|video|audio|file|files|resource|output|outputs|result|results|clip|clips|images|videos|audios|works|data|` +
	`(result|video|image|audio|mp3|wav|mp4|download|file|media|output|final|resource|hd|origin|original|source_video)s?_?(url|urls|uri)|url_(mp3|wav|mp4|[0-9]{1,2})|` +
	`(video|image|audio)_result|series_images|resource_without_watermark)$`)

// noFiles are the fields of a request that a reply repeats, previews, and links that
// lead elsewhere. What is below them is no output.
var noFiles = regexp.MustCompile(`^(inputs?|params?|parameters|prompts?|negative_prompt|request|requests|request_body|task_info|properties|options|config|settings|extra|arguments|payload|` +
	`(first|last|start|end|tail|static|dynamic)_?(frame|image|mask)s?(_urls?)?|image_tail|(tail|input|reference|ref|source|init|origin_image|subject|face|mask|human|cloth|person|garment)_?(image|images|video|videos|audio|url|urls|list|image_urls?|video_urls?|audio_urls?)?|` +
	`image_list|video_list|element_list|voice_list|image_reference|parent_video|trial_url|` +
	`(cover|poster|thumbnail|thumb|preview|avatar|icon|logo|snapshot)s?(_image)?(_urls?)?|watermark_?(url|urls|image|video)?|(video|image)_with_watermark|` +
	`callback|callback_url|webhook|webhook_url|notify_url|(self|next|prev|status|cancel|poll|query|stream|get|docs?|help)_?(url|link)|links|billing|error|errors|message|msg)$`)

// outputFinder collects the files of an object and numbers them by kind.
type outputFinder struct {
	files
	ref  Ref
	next map[Kind]int
	seen map[string]bool
}

// findFiles returns the files that an object names, in order.
func findFiles(o object, ref Ref) []Output {
	f := newFinder(ref)
	f.object(o, "", 0)
	return f.outputs
}

func newFinder(ref Ref) *outputFinder {
	return &outputFinder{ref: ref, next: map[Kind]int{}, seen: map[string]bool{}}
}

// chooseFiles returns the files of the outermost node that names any itself: what a
// relay says outside may be its own link, which needs its key, to the file that is
// named inside. relay is the host that was asked.
func chooseFiles(nodes []node, ref Ref, relay string) files {
	ids := []string{ref.TaskID}
	for _, n := range nodes {
		ids = append(ids, idOf(n.object))
	}
	var proxied files
	for i, n := range nodes {
		f := newFinder(ref)
		f.object(n.object, "", 0)
		own := f.files
		own.outputs = slices.DeleteFunc(slices.Clone(own.outputs), func(o Output) bool { return isProxied(o.URL, ids, relay) })
		switch {
		case len(own.outputs) > 0 || own.tooLarge > 0:
			own.outputs = withDetails(renumber(own.outputs), nodes[i+1:], ref)
			return own
		case own.incomplete:
			proxied.incomplete = true
		case len(f.outputs) > 0 && len(proxied.outputs) == 0:
			proxied.outputs = f.outputs
		}
	}
	for i := range proxied.outputs {
		proxied.outputs[i].NeedsKey = true
	}
	return proxied
}

// withDetails adds to the only file of an outer node what an inner one knows of it:
// relays that copy a file give no more than its URL.
func withDetails(outputs []Output, inner []node, ref Ref) []Output {
	if len(outputs) != 1 || outputs[0].UpstreamID != "" || outputs[0].DurationSeconds != "" {
		return outputs
	}
	for _, n := range inner {
		if same := findFiles(n.object, ref); len(same) > 0 && same[0].Kind == outputs[0].Kind {
			url := outputs[0].URL
			outputs = same
			outputs[0].URL = url
			return outputs
		}
	}
	return outputs
}

func renumber(outputs []Output) []Output {
	next := map[Kind]int{}
	for i := range outputs {
		outputs[i].Position = next[outputs[i].Kind]
		next[outputs[i].Kind]++
	}
	return outputs
}

// object looks through the fields of an object; kind is what the field that led here
// says, "" for nothing.
func (f *outputFinder) object(o object, kind Kind, depth int) {
	if depth > maxNesting {
		return
	}
	if named := kindNamed(o.text("type") + " " + o.text("content_type") + " " + o.text("kind")); named != "" {
		kind = named
	}
	f.noteMissing(o)
	for _, key := range fieldsOf(o) {
		if noFiles.MatchString(key) && !(key == "image_url" && f.ref.Action == "images") {
			continue
		}
		// a record inside is a node of its own
		if inner, ok := embedded(o[key]).(object); ok && slices.Contains(wrappers, key) {
			if isRecord(inner) {
				continue
			}
		}
		f.value(o, key, embedded(o[key]), firstKind(kindNamed(key), kind), depth)
	}
}

// isRecord reports whether an object has a status of its own.
func isRecord(o object) bool {
	for _, keys := range [][]string{statusFields, stateFields} {
		for _, key := range keys {
			if _, ok := o[key].(string); ok {
				return true
			}
		}
	}
	return false
}

func (f *outputFinder) value(parent object, key string, v any, kind Kind, depth int) {
	switch v := v.(type) {
	case string:
		f.text(parent, key, v, kind)
	case object:
		f.object(v, kind, depth+1)
	case []any:
		for _, item := range v {
			f.value(object{}, key, embedded(item), kind, depth+1)
		}
	}
}

// text takes a URL where the field is one for files, or its extension says so.
func (f *outputFinder) text(parent object, key, raw string, kind Kind) {
	raw = strings.TrimSpace(raw)
	inline := isInline(raw)
	if !isURL(raw) && !inline || key == "image_url" && f.ref.Action != "images" && f.ref.Action != "general" {
		return
	}
	byExtension := kindOfURL(raw)
	if byExtension == "" && !fileFields.MatchString(key) && key != "fail_reason" {
		return
	}
	if f.seen[raw] {
		return
	}
	f.seen[raw] = true
	if inline && len(raw) > MaxInline {
		f.tooLarge++
		return
	}
	o := Output{
		Kind:            firstKind(byExtension, kind, kindOfAction(f.ref)),
		URL:             raw,
		UpstreamID:      parent.text("id"),
		DurationSeconds: firstDuration(parent, durationFields(key)...),
		WatermarkURL:    parent.text("watermark_url"),
		ExpiresAt:       expiryOf(raw),
	}
	if isRecord(parent) || parent["task_id"] != nil {
		o.UpstreamID = "" // the id of the task
	}
	o.Position = f.next[o.Kind]
	f.next[o.Kind]++
	f.outputs = append(f.outputs, o)
}

// noteMissing notes an item whose URL is there but empty: it comes at a later poll.
func (f *outputFinder) noteMissing(o object) {
	if isRecord(o) {
		return
	}
	if v, ok := o["url"]; ok && (v == nil || v == "") && (o["id"] != nil || o["index"] != nil || o["watermark_url"] != nil || o["duration"] != nil) {
		f.incomplete = true
	}
}

// fieldsOf lists the fields of an object in the order in which files are numbered.
func fieldsOf(o object) []string {
	keys := make([]string, 0, len(o))
	for key := range o {
		if !strings.ContainsFunc(key, isCapital) { // it has a twin in small letters
			keys = append(keys, key)
		}
	}
	rank := func(key string) int {
		if i := slices.Index(fileOrder, key); i >= 0 {
			return i
		}
		return len(fileOrder)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if byRank := rank(a) - rank(b); byRank != 0 {
			return byRank
		}
		return strings.Compare(a, b)
	})
	return keys
}

func durationFields(key string) []string {
	for _, format := range []string{"mp3", "wav"} {
		if strings.Contains(key, format) {
			return []string{"duration_" + format, format + "_duration", "duration", "duration_seconds"}
		}
	}
	return []string{"duration", "duration_seconds", "video_duration", "audio_duration"}
}

var durationForm = regexp.MustCompile(`^([0-9]{1,9}(?:\.[0-9]{1,30})?)\s*(?:s|sec|secs|seconds)?$`)

// firstDuration reads 5, "5", "5.041" and "5s".
func firstDuration(o object, keys ...string) string {
	for _, key := range keys {
		if match := durationForm.FindStringSubmatch(strings.ToLower(o.text(key))); match != nil {
			return match[1]
		}
	}
	return ""
}

// kindNamed reads a kind out of a field's name, a type or a media type.
func kindNamed(name string) Kind {
	name = strings.ToLower(name)
	for _, word := range []struct {
		part string
		kind Kind
	}{{"video", Video}, {"mp4", Video}, {"image", Image}, {"picture", Image}, {"photo", Image}, {"audio", Audio}, {"mp3", Audio}, {"wav", Audio}, {"music", Audio}, {"sound", Audio}} {
		if strings.Contains(name, word.part) {
			return word.kind
		}
	}
	return ""
}

func firstKind(kinds ...Kind) Kind {
	for _, kind := range kinds {
		if kind != "" {
			return kind
		}
	}
	return ""
}

var kindOfExtension = map[string]Kind{
	".png": Image, ".jpg": Image, ".jpeg": Image, ".webp": Image, ".gif": Image, ".avif": Image, ".bmp": Image,
	".mp4": Video, ".m4v": Video, ".mov": Video, ".webm": Video, ".mkv": Video,
	".mp3": Audio, ".wav": Audio, ".m4a": Audio, ".ogg": Audio, ".flac": Audio, ".aac": Audio,
}

// kindOfURL returns the kind of a URL by its extension or media type, "" for none.
func kindOfURL(raw string) Kind {
	if isInline(raw) {
		mediaType, _, _ := strings.Cut(raw, ";")
		return kindNamed(mediaType)
	}
	if u, err := url.Parse(raw); err == nil {
		return kindOfExtension[strings.ToLower(path.Ext(u.Path))]
	}
	return ""
}

// kindOfAction is what tasks of an action make.
func kindOfAction(ref Ref) Kind {
	switch ref.Action {
	case "images", "general":
		return Image
	case "audio":
		return Audio
	}
	return firstKind(kindNamed(ref.Action), Video)
}

// isURL reports whether a text is an absolute http(s) URL.
func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// isInline reports whether a text is a file as a data: URL.
func isInline(text string) bool {
	return strings.HasPrefix(text, "data:image/") || strings.HasPrefix(text, "data:video/") || strings.HasPrefix(text, "data:audio/")
}

// isFileURL reports whether a text is a URL and nothing else.
func isFileURL(text string) bool { return isURL(text) && !strings.ContainsAny(text, " \t") }

var proxyPath = regexp.MustCompile(`/v1/(videos|images|audios?|tasks|video/generations)/([^/]+)/content/?$`)

// isProxied reports whether a URL is a relay's own link to the file, which needs the
// relay's key: new-api, relay/relay_task.go, /v1/videos/{task_id}/content.
func isProxied(raw string, ids []string, relay string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	match := proxyPath.FindStringSubmatch(u.Path)
	return match != nil && (slices.Contains(ids, match[2]) || strings.EqualFold(u.Host, relay) || !isPublic(u.Hostname()))
}

// isPublic reports whether a host can be one of the open internet.
func isPublic(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsGlobalUnicast() && !addr.IsPrivate()
	}
	return strings.Contains(strings.TrimSuffix(host, "."), ".") && !strings.HasSuffix(host, ".local") && !strings.HasSuffix(host, ".internal")
}
