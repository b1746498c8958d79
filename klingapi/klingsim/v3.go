package klingsim

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// v3Kinds are the first parts of the paths of Kling's new family, and the old paths whose tasks are like theirs.
var v3Kinds = map[string]*kind{
	"text-to-video":  kindByPath["videos/text2video"],
	"image-to-video": kindByPath["videos/image2video"],
	"text-to-image":  kindByPath["images/generations"],
	"image-to-image": kindByPath["images/multi-image2image"],
}

// v3Any is the kind of a task whose path does not say it.
var v3Any = v3Kinds["text-to-video"]

// v3Plain is the path under which relays put the new family among the old paths.
const v3Plain = "/kling/v1/videos/text-to-video"

// routeV3 knows the paths of the new family, as Kling and its relays serve it, and the old paths. The model in a path is
// not checked: new ones appear all the time.
func routeV3(r *Relay, req *http.Request) (target, bool) {
	path := req.URL.EscapedPath()
	if path == "/tasks" || path == "/kling/tasks" {
		return v3List(req.URL.Query()), true
	}
	to := target{form: "v3", family: true}
	if rest, ok := strings.CutPrefix(path, v3Plain); ok && (rest == "" || rest[0] == '/') {
		return to.at(v3Any, strings.TrimPrefix(rest, "/")), true
	}
	rest, _ := strings.CutPrefix(path, "/kling/")
	family, rest, _ := strings.Cut(rest, "/")
	if family == "tasks" {
		if rest == "" {
			return to, true
		}
		return to.at(v3Any, rest), true
	}
	if k := v3Kinds[family]; k != nil {
		model, id, _ := strings.Cut(rest, "/")
		if model == "" {
			return to, true
		}
		return to.at(k, id), true
	}
	return routeKling(r, req)
}

// v3List reads GET /tasks?task_ids=a,b. An id that is named twice is answered once.
func v3List(parameters url.Values) target {
	to := target{kind: v3Any, form: "v3", family: true, list: true}
	value := parameters.Get("task_ids")
	if value == "" {
		value, to.external = parameters.Get("external_task_ids"), true
	}
	for id := range strings.SplitSeq(value, ",") {
		if id = strings.TrimSpace(id); id != "" && !slices.Contains(to.ids, id) {
			to.ids = append(to.ids, id)
		}
	}
	return to
}

// isJWT reports whether a key looks like a token made of an access key and a secret key.
func isJWT(key string) bool { return strings.HasPrefix(key, "eyJ") && strings.Count(key, ".") == 2 }

// v3Record is the record of the new family.
func (q *query) v3Record(v *view) item {
	record := item{
		"id": q.taskID(), "status": q.word("v3", v), "message": v.reason, "create_time": v.created, "update_time": v.updated,
		"external_id": q.seen.external, "outputs": v3Outputs(v.files), "billing": []item{},
	}
	if v.phase == succeeded && v.reason != "" {
		record["error"] = errorOf(v)
	}
	return record
}

// v3Outputs lists files. The two formats of a sound are one output.
func v3Outputs(files []madeFile) []item {
	outputs := []item{}
	for _, f := range files {
		output := item{"type": f.kind, "id": f.id}
		if last := len(outputs) - 1; f.kind == "audio" && last >= 0 && outputs[last]["id"] == f.id {
			outputs[last]["wav_url"] = f.url
			continue
		}
		if f.kind == "audio" {
			output["mp3_url"] = f.url
		} else {
			output["url"] = f.url
		}
		if f.seconds != "" {
			output["duration"] = f.seconds
		}
		outputs = append(outputs, output)
	}
	return outputs
}
