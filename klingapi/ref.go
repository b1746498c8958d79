package klingapi

import "net/url"

// Ref identifies one task at the relay.
type Ref struct {
	Action  string // first part of the path: images, videos, audio, general
	Action2 string // second part, as at creation; may contain one slash: avatar/image2video
	TaskID  string // the provider's id, or an external_task_id; opaque
}

// Path returns /{action}/{action2}/{task_id}. The id is escaped; a slash in action2
// is part of the path.
func (r Ref) Path() string {
	return "/" + r.Action + "/" + r.Action2 + "/" + url.PathEscape(r.TaskID)
}

// Documented has the pairs of action and action2 that the vendor or the relays
// document, without TaskID. Relays add pairs every few months, so a Client asks for
// others as well.
var Documented = []Ref{
	{Action: "images", Action2: "generations"},
	{Action: "images", Action2: "kolors-virtual-try-on"},
	{Action: "images", Action2: "omni-image"},
	{Action: "images", Action2: "multi-image2image"},
	{Action: "images", Action2: "editing/expand"},
	{Action: "videos", Action2: "text2video"},
	{Action: "videos", Action2: "image2video"},
	{Action: "videos", Action2: "lip-sync"},
	{Action: "videos", Action2: "multi-image2video"},
	{Action: "videos", Action2: "multi-elements"},
	{Action: "videos", Action2: "omni-video"},
	{Action: "videos", Action2: "motion-control"},
	{Action: "videos", Action2: "video-extend"},
	{Action: "videos", Action2: "advanced-lip-sync"},
	{Action: "videos", Action2: "effects"},
	{Action: "videos", Action2: "avatar/image2video"},
	{Action: "general", Action2: "ai-multi-shot"},
	{Action: "audio", Action2: "text-to-audio"},
	{Action: "audio", Action2: "video-to-audio"},
}
