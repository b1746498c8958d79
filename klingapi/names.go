package klingapi

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// fieldName is what the name of a field says of what the field holds.
type fieldName struct {
	rank        int  // its place in fileOrder
	kind        Kind // of the files in it, "" where it says nothing
	lists       bool // it holds what a task made, and nothing else
	mayHoldFile bool // a URL in it is a file even if its extension does not say so
	other       bool // it holds no output, nor does what is below it
	marked      bool // it is for the file with a watermark
	requested   bool // beside the status it is the request's
}

// Relays use the same few names in every reply, and reading one takes longer than
// the rest of the search. Names beyond maxKnownNames, which someone may have made up,
// are read each time.
var (
	knownNames sync.Map // of the key to its fieldName
	knownCount atomic.Int64
)

const (
	maxKnownNames = 2000
	maxKnownName  = 64 // bytes
)

// named reads the name of a field.
func named(key string) fieldName {
	if known, ok := knownNames.Load(key); ok {
		return known.(fieldName)
	}
	name := fieldName{
		rank:        rankOf(key),
		kind:        kindNamed(key),
		lists:       listFields.MatchString(key),
		mayHoldFile: mayHoldFile(key),
		other:       isOther(key),
		marked:      isMarked(key),
		requested:   requestNames.MatchString(key),
	}
	if len(key) <= maxKnownName && knownCount.Load() < maxKnownNames {
		knownCount.Add(1)
		knownNames.Store(strings.Clone(key), name)
	}
	return name
}

// fileOrder is the order in which the fields of one object are looked at: what is
// listed, then what stands beside it. Any other field follows, by its name.
var fileOrder = ranked(
	"outputs", "task_result", "images", "image", "series_images", "videos", "video", "audios", "audio", "video_result", "image_result", "audio_result",
	"works", "resource", "result", "results", "output", "result_json", "clips", "files", "file",
	"url", "urls", "result_url", "result_urls", "video_url", "video_urls", "image_url", "image_urls", "audio_url", "audio_urls", "mp3_url", "url_mp3", "wav_url", "url_wav",
	"download_url", "file_url", "media_url", "metadata", "data",
)

// fieldsOf lists the wanted fields of an object in the order in which files are
// numbered.
func fieldsOf(o object, wanted func(key string, v any) bool) []string {
	keys := make([]string, 0, len(o))
	for key, v := range o {
		if wanted(key, v) && !strings.ContainsFunc(key, isCapital) { // it has a twin in small letters
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(named(a).rank-named(b).rank, strings.Compare(a, b)) })
	return keys
}

// rankOf is the place of a field in fileOrder. The file without a watermark comes
// before the one with it.
func rankOf(key string) int {
	if strings.Contains(key, "mark") && isUnmarked(key) {
		return fileOrder["works"]
	}
	if rank, ok := fileOrder[key]; ok {
		return rank
	}
	return len(fileOrder)
}

// listFields hold what a task made, and nothing else; data only beside a status.
var listFields = regexp.MustCompile(`^(outputs?|task_result|results?|result_json|works|(video|image|audio)_result|series_images|videos|audios|images|(result|video|image|audio|unsigned)_urls|urls|` +
	`clips|files|file_infos|data|generations|generated|generated_(videos|images|audios)|creations|assets|artifacts|content)$`)

// plainNames may hold a URL without a telling extension.
var plainNames = regexp.MustCompile(`^(urls?|uri|src|link|href|data|fail_reason|value|url_[0-9]{1,2})$`)

// fileWords are parts of the names of fields that hold files.
var fileWords = set("video", "videos", "image", "images", "audio", "audios", "picture", "pictures", "photo", "music", "sound", "mp4", "mp3", "wav",
	"file", "files", "media", "clip", "clips", "resource", "resources", "result", "results", "output", "outputs", "works", "download", "play", "hd", "origin", "original",
	"final", "generated", "unsigned", "signed", "creation", "creations", "asset", "assets", "artifact", "artifacts")

// otherWords are parts of the names of fields that hold no output: what a reply
// repeats of the request, previews, and links that lead elsewhere. What is below them
// is no output either.
var otherWords = set(
	"input", "inputs", "param", "params", "parameter", "parameters", "prompt", "prompts", "request", "requests", "req", "option", "options", "config", "settings", "argument", "arguments",
	"args", "payload", "extra", "properties", "reference", "references", "refer", "ref", "init", "source", "parent", "frame", "frames", "first", "last", "start", "end", "tail",
	"element", "elements", "voices", "trial", "user", "owner", "author", "creator", "icon", "logo",
	"cover", "covers", "poster", "posters", "thumbnail", "thumbnails", "thumb", "thumbs", "preview", "previews", "snapshot", "gif", "subtitle", "subtitles", "caption", "captions",
	"callback", "webhook", "notify", "self", "next", "prev", "previous", "status", "cancel", "poll", "polling", "query", "stream", "get", "doc", "docs", "help", "support",
	"share", "page", "web", "dashboard", "console", "links", "billing", "error", "errors", "message", "msg", "log", "logs")

// otherNames are whole names of the same kind.
var otherNames = regexp.MustCompile(`^(task_info|(avatar|mask|(static|dynamic)_mask|face|subject|human|person|cloth|garment)s?(_(image|video|audio|list|data)s?)?(_urls?)?|origin_(image|video|audio)(_url)?)$`)

// requestNames are fields of a request that may also be fields of a result.
var requestNames = regexp.MustCompile(`^((image|video|audio|voice)_list|image_(tail|reference))$`)

// ranked numbers names in their order.
func ranked(names ...string) map[string]int {
	ranks := make(map[string]int, len(names))
	for i, name := range names {
		ranks[name] = i
	}
	return ranks
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, name := range names {
		m[name] = true
	}
	return m
}

// wordsOf splits the name of a field.
func wordsOf(key string) []string {
	return strings.Split(strings.ReplaceAll(key, "water_mark", "watermark"), "_")
}

// mayHoldFile reports whether a URL in a field is a file even if its extension does
// not say so.
func mayHoldFile(key string) bool {
	return plainNames.MatchString(key) || slices.ContainsFunc(wordsOf(key), func(word string) bool { return fileWords[word] })
}

// isOther reports whether a field, with all that is below it, holds no output.
func isOther(key string) bool {
	words := wordsOf(key)
	return slices.ContainsFunc(words, func(word string) bool { return otherWords[word] }) || otherNames.MatchString(key) ||
		isMarked(key)
}

// isMarked reports whether a field is for the file with a watermark.
func isMarked(key string) bool { return hasMark(wordsOf(key)) && !isUnmarked(key) }

func hasMark(words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, "watermark") })
}

// isUnmarked reports whether a field is for the file without a watermark.
func isUnmarked(key string) bool {
	words := wordsOf(key)
	return hasMark(words) && slices.ContainsFunc(words, func(word string) bool { return unmarked[word] })
}

var unmarked = set("without", "no", "non", "free", "remove", "removed")

// isOtherItem reports whether an item of a list says itself that it is no output.
func isOtherItem(o object) bool {
	return slices.ContainsFunc([]string{"type", "role", "purpose"}, func(key string) bool {
		text := o.text(key)
		return text != "" && isOther(separators.Replace(strings.ToLower(text)))
	})
}

// kindNamed reads a kind out of a field's name, a type or a media type.
func kindNamed(name string) Kind {
	if name == "" {
		return ""
	}
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

// kindDescribed is the kind that an item of a list gives itself.
func kindDescribed(o object) Kind {
	for _, key := range []string{"type", "content_type", "mime_type", "media_type", "file_type", "kind", "format"} {
		if kind := kindNamed(o.text(key)); kind != "" {
			return kind
		}
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

// isMadeBy reports whether tasks of an action make files of a kind. Anything else
// that stands beside the status is the request's.
func isMadeBy(ref Ref, kind Kind) bool {
	switch ref.Action {
	case "images", "audio":
		return kind == kindOfAction(ref)
	case "videos":
		return kind != Image
	}
	return true
}

func firstKind(kinds ...Kind) Kind {
	for _, kind := range kinds {
		if kind != "" {
			return kind
		}
	}
	return ""
}
