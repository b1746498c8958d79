package klingsim

import (
	"net/url"
	"strings"
)

// kind is one documented action/action2 and the result of its tasks.
type kind struct {
	action, action2 string
	lists           []list
	parent          bool   // task_info contains the parent video
	units           string // final_unit_deduction, a decimal; empty: absent, as in the seed document
}

// list is one list of a task_result.
type list struct {
	name  string // its key in task_result
	style style
	count int
}

// style is how the items of a list are written.
type style int

const (
	imageByID    style = iota // {"id":"","url"}, the seed document's
	imageByIndex              // {"index","url","watermark_url"}
	shots                     // {"index","url_1","url_2","url_3"}
	video                     // {"id","url","watermark_url","duration"}
	videoBare                 // the same without duration
	audio                     // {"id","url_mp3","url_wav","duration_mp3","duration_wav"}
)

// kinds are the documented paths. The order is that of `klingwatch sim --help`.
var kinds = []*kind{
	{action: "images", action2: "generations", lists: []list{{"images", imageByID, 1}}},
	{action: "images", action2: "kolors-virtual-try-on", lists: []list{{"images", imageByID, 1}}},
	{action: "images", action2: "omni-image", lists: []list{{"images", imageByIndex, 1}, {"series_images", imageByIndex, 3}}, units: "8"},
	{action: "images", action2: "multi-image2image", lists: []list{{"images", imageByIndex, 2}}, units: "16"},
	{action: "images", action2: "editing/expand", lists: []list{{"images", imageByIndex, 2}}, units: "4"},
	{action: "videos", action2: "text2video", lists: []list{{"videos", video, 1}}, units: "2.5"},
	{action: "videos", action2: "image2video", lists: []list{{"videos", video, 1}}, units: "3.5"},
	{action: "videos", action2: "multi-image2video", lists: []list{{"videos", video, 1}}, units: "2"},
	{action: "videos", action2: "multi-elements", lists: []list{{"videos", video, 1}}, units: "3"},
	{action: "videos", action2: "omni-video", lists: []list{{"videos", video, 1}}, units: "6"},
	{action: "videos", action2: "motion-control", lists: []list{{"videos", video, 1}}, units: "2.5"},
	{action: "videos", action2: "video-extend", lists: []list{{"videos", video, 1}}, parent: true, units: "2"},
	{action: "videos", action2: "lip-sync", lists: []list{{"videos", video, 1}}, parent: true, units: "0.5"},
	{action: "videos", action2: "advanced-lip-sync", lists: []list{{"videos", video, 1}}, parent: true, units: "0.5"},
	{action: "videos", action2: "effects", lists: []list{{"videos", videoBare, 1}}, units: "2"},
	{action: "videos", action2: "avatar/image2video", lists: []list{{"videos", video, 1}}, units: "4"},
	{action: "general", action2: "ai-multi-shot", lists: []list{{"images", shots, 2}}, units: "1"},
	{action: "audio", action2: "text-to-audio", lists: []list{{"audios", audio, 2}}, units: "0.25"},
	{action: "audio", action2: "video-to-audio", lists: []list{{"videos", video, 1}, {"audios", audio, 1}}, units: "0.25"},
}

var kindByPath = func() map[string]*kind {
	byPath := make(map[string]*kind, len(kinds))
	for _, k := range kinds {
		byPath[k.path()] = k
	}
	return byPath
}()

func (k *kind) path() string { return k.action + "/" + k.action2 }

// Paths returns the documented "{action}/{action2}", like "videos/text2video"; action2 may contain a slash.
func Paths() []string {
	paths := make([]string, len(kinds))
	for i, k := range kinds {
		paths[i] = k.path()
	}
	return paths
}

// route splits what follows the prefix in an escaped URL path into kind and task id. The kind is nil if it is not
// documented; the id is empty if the path ends before it.
func route(path string) (*kind, string) {
	if k := kindByPath[path]; k != nil {
		return k, ""
	}
	cut := strings.LastIndexByte(path, '/')
	if cut < 0 {
		return nil, ""
	}
	id, err := url.PathUnescape(path[cut+1:])
	if err != nil {
		return nil, ""
	}
	return kindByPath[path[:cut]], id
}
