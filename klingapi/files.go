package klingapi

import (
	"regexp"
	"slices"
	"strings"
)

// MaxInline is the longest data: URL that is taken as an output, in bytes: webhooks
// carry it.
const MaxInline = 64 << 10

// maxOutputs is how many files of a task are kept: a set of images has at most some
// dozens.
const maxOutputs = 500

// files are what a record names.
type files struct {
	outputs    []Output
	incomplete bool // an item has no URL yet
	tooLarge   int  // data: URLs beyond MaxInline that were left out
}

// outputFinder collects the files of an object.
type outputFinder struct {
	ref        Ref
	skip       func(link) bool // nil: none
	found      []foundFile
	marked     []foundFile // with a watermark: they count where there are no others
	incomplete bool
	tooLarge   int
	seen       map[string]bool
}

// foundFile is a file, and what speaks for it.
type foundFile struct {
	Output
	listed string // the field of the record that lists it, "" where it is no list of results
	named  bool   // it does, or its extension or field says what it is: no mere link
}

// place is where the search is.
type place struct {
	kind   Kind   // as the fields that led here say, "" where they say nothing
	listed string // the outermost of listFields above it, "" for none
	marked bool   // a field for the file with a watermark
	depth  int
}

// below is the place of the value of a field.
func (p place) below(key string) place {
	if p.listed == "" && named(key).lists {
		p.listed = key
	}
	return place{kind: firstKind(named(key).kind, p.kind), listed: p.listed, depth: p.depth + 1}
}

// findFiles returns the files that an object names, in order.
func findFiles(o object, ref Ref) []Output { return searchFiles(o, ref, nil).outputs }

// searchFiles looks through an object, but for the URLs to skip. Of several lists with files of a kind the first
// counts, since the others name the same under other addresses. So may what stands
// beside the status; or it is the request's.
func searchFiles(o object, ref Ref, skip func(link) bool) files {
	f := newFinder(o, ref, skip)
	if len(f.found) == 0 {
		f.found = f.marked
	}
	lists := map[Kind]string{} // the one that counts
	for _, file := range f.found {
		if lists[file.Kind] == "" {
			lists[file.Kind] = file.listed
		}
	}
	main := kindOfAction(ref)
	listed := lists[main] != "" || ref.Action == "general" && len(lists[Video])+len(lists[Audio]) > 0
	all := files{incomplete: f.incomplete, tooLarge: f.tooLarge}
	for _, file := range f.found {
		if file.listed == lists[file.Kind] || file.listed == "series_images" || file.listed == "" && !listed {
			all.outputs = append(all.outputs, file.Output)
		}
	}
	all.outputs = renumber(all.outputs)
	return all
}

func newFinder(o object, ref Ref, skip func(link) bool) *outputFinder {
	f := &outputFinder{ref: ref, skip: skip, seen: map[string]bool{}}
	f.object(o, place{})
	return f
}

// namesFile reports whether an object names a file that is more than a mere link.
func namesFile(o object, ref Ref) bool {
	return slices.ContainsFunc(newFinder(o, ref, nil).found, func(file foundFile) bool { return file.named })
}

// listedFiles are the files that an envelope lists beside the record.
func listedFiles(o object, ref Ref, skip func(link) bool) files {
	only := object{}
	for key, value := range o {
		if named(key).lists && !isWrapper(key) {
			only[key] = value
		}
	}
	return searchFiles(only, ref, skip)
}

// renumber counts the positions of each kind from 0.
func renumber(outputs []Output) []Output {
	next := map[Kind]int{}
	for i := range outputs {
		outputs[i].Position = next[outputs[i].Kind]
		next[outputs[i].Kind]++
	}
	return outputs
}

// chooseFiles returns the files of the outermost node that names any itself: what a
// relay says outside may be its own link, which needs its key, to the file that is
// named inside. Where no node names a file, an envelope may, beside the record.
func chooseFiles(nodes []node, ref Ref, a evidence) files {
	ids := append(make([]string, 0, 1+len(nodes)), ref.TaskID)
	for _, n := range nodes {
		ids = append(ids, idOf(n.object))
	}
	toTask := func(l link) bool { return l.isOfTask(ids, a.relay) }
	toOthers := func(l link) bool { return toTask(l) || l.isProxied(ids, a.relay) }
	var proxied files
	for i, n := range nodes {
		own := searchFiles(n.object, ref, toOthers)
		switch {
		case len(own.outputs) > 0 || own.tooLarge > 0:
			own.outputs = withDetails(own.outputs, nodes[i+1:], ref)
			return own
		case own.incomplete:
			proxied.incomplete = true
		case len(proxied.outputs) == 0:
			proxied.outputs = searchFiles(n.object, ref, toTask).outputs
		}
	}
	for _, o := range a.around {
		if beside := listedFiles(o, ref, toOthers); len(beside.outputs) > 0 {
			return beside
		}
	}
	for i := range proxied.outputs {
		proxied.outputs[i].NeedsKey = true
	}
	return proxied
}

// withDetails adds to the only file of an outer node what an inner one knows of it:
// relays that copy a file give no more than the URL of the first.
func withDetails(outputs []Output, inner []node, ref Ref) []Output {
	if len(outputs) != 1 || outputs[0].UpstreamID != "" || outputs[0].DurationSeconds != "" {
		return outputs
	}
	for _, n := range inner {
		if same := findFiles(n.object, ref); len(same) > 0 && same[0].Kind == outputs[0].Kind {
			same[0].URL, same[0].ExpiresAt = outputs[0].URL, outputs[0].ExpiresAt
			return same
		}
	}
	return outputs
}

// object looks through the fields of an object.
func (f *outputFinder) object(o object, at place) {
	if at.depth > maxNesting || at.depth > 0 && isEcho(o) {
		return
	}
	if !isRecord(o) {
		if isOtherItem(o) {
			return
		}
		at.kind = firstKind(kindDescribed(o), at.kind)
		f.noteMissing(o)
	}
	for _, key := range fieldsOf(o, canHoldFile) {
		if len(f.found) >= maxOutputs {
			return
		}
		if text, ok := o[key].(string); ok && named(key).marked && isURL(text) && !at.marked {
			at := at.below(key)
			at.marked = true
			f.text(o, "url", text, at)
		} else if !f.skips(o, key, at) {
			f.value(o, key, embedded(o[key]), at.below(key))
		}
	}
}

// canHoldFile is a quick check of a value: whether it is a URL, a file, or has fields
// of its own. It may report true without need.
func canHoldFile(key string, v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, "://") || strings.Contains(v, "data:") || strings.ContainsAny(v, "{[") || isBase64Field(key)
	case object, []any:
		return true
	}
	return false
}

// skips reports whether a field cannot hold outputs of this object.
func (f *outputFinder) skips(o object, key string, at place) bool {
	if named(key).other || at.listed == "" && named(key).requested {
		return true
	}
	switch key {
	case "image_url": // where no images are made it is the request's, or a cover
		return f.ref.Action != "images" && f.ref.Action != "general"
	case "images", "image_urls":
		if at.listed == "" && !isMadeBy(f.ref, Image) {
			return true
		}
	case "image": // beside a video it is its cover
		return !isMadeBy(f.ref, Image) && (o["video"] != nil || o["video_url"] != nil || o["url"] != nil)
	case "download_url", "play_url": // the same under another address
		return o.firstText("url", "video_url", "image_url", "audio_url") != ""
	}
	inner, ok := embedded(o[key]).(object)
	if ok = ok && isWrapper(key); ok {
		_, ok = asNode(inner, f.ref)
	}
	return ok // a node of its own
}

// isEcho reports whether an object repeats the request: it has a prompt, and neither
// an id nor a file of its own.
func isEcho(o object) bool {
	return (o["prompt"] != nil || o["negative_prompt"] != nil) && !isRecord(o) && idOf(o) == "" && o["url"] == nil && o["video_url"] == nil
}

func (f *outputFinder) value(parent object, key string, v any, at place) {
	switch v := v.(type) {
	case string:
		f.text(parent, key, v, at)
	case object:
		f.object(v, at)
	case []any:
		for _, item := range v {
			at := at
			at.depth++
			f.value(nil, key, embedded(item), at)
		}
	}
}

// betweenLinks stands between URLs that share one text.
var betweenLinks = regexp.MustCompile(`[,;|\s]+(https?://)`)

// text takes each URL of a text where the field is one for files, or its extension
// says so.
func (f *outputFinder) text(parent object, key, raw string, at place) {
	raw = strings.TrimSpace(raw)
	if isBase64Field(key) && raw != "" && !isLink(raw) {
		raw = inlined(raw, firstKind(at.kind, kindOfAction(f.ref)))
	}
	whole, ok := parseLink(raw)
	if !ok {
		return
	}
	if strings.Count(raw, "://") > 1 {
		raw = betweenLinks.ReplaceAllString(raw, "\n$1")
	}
	if !strings.Contains(raw, "\n") {
		f.link(parent, key, whole, at)
		return
	}
	for raw := range strings.SplitSeq(raw, "\n") {
		if l, ok := parseLink(raw); ok {
			f.link(parent, key, l, at)
		}
	}
}

func (f *outputFinder) link(parent object, key string, l link, at place) {
	byExtension := l.kind()
	if len(f.found) >= maxOutputs || byExtension == "" && !named(key).mayHoldFile || noMedia[l.extension] || f.skip != nil && f.skip(l) {
		return
	}
	kind, same := firstKind(byExtension, at.kind, kindOfAction(f.ref)), l.identity()
	if at.listed == "" && !isMadeBy(f.ref, kind) || f.seen[same] {
		return
	}
	f.seen[same] = !at.marked
	if l.url == nil && len(l.raw) > MaxInline {
		f.tooLarge++
		return
	}
	o := Output{
		Kind:            kind,
		URL:             l.raw,
		UpstreamID:      parent.text("id"),
		DurationSeconds: durationOf(parent, key),
		WatermarkURL:    parent.text("watermark_url"),
		ExpiresAt:       l.expiry(),
	}
	if isRecord(parent) || parent["task_id"] != nil {
		o.UpstreamID = "" // the id of the task
	}
	file := foundFile{o, at.listed, at.listed != "" || byExtension != "" || named(key).kind != ""}
	if at.marked {
		file.WatermarkURL = l.raw
		f.marked = append(f.marked, file)
		return
	}
	f.found = append(f.found, file)
}

// urlFields hold the URL of an item.
var urlFields = []string{"url", "video_url", "image_url", "audio_url", "uri", "mp3_url", "url_mp3", "resource"}

// noteMissing notes an item that has no URL yet: it comes at a later poll.
func (f *outputFinder) noteMissing(o object) {
	empty := false
	for _, field := range urlFields {
		v, ok := o[field]
		if ok && v != nil && v != "" {
			return
		}
		empty = empty || ok
	}
	if empty && slices.ContainsFunc([]string{"id", "index", "type", "watermark_url", "duration", "video_id", "image_id"}, func(field string) bool { return o[field] != nil }) {
		f.incomplete = true
	}
}
