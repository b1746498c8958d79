package klingsim

import "net/http"

// forms write the records of relays that do not write like Kling, and of Kling's new family.
var forms = map[string]func(*query, *view) any{
	"v3":       func(q *query, v *view) any { return q.envelope(0, "SUCCEED", []any{q.v3Record(v)}) },
	"v3object": func(q *query, v *view) any { return q.envelope(0, "SUCCEED", q.v3Record(v)) },
	"geekai":   (*query).geekAI,
	"piapi": func(q *query, v *view) any {
		return q.piAPI(v, func(f madeFile) item { return item{"type": "kling", f.kind: f.url} })
	},
	"works": func(q *query, v *view) any {
		return q.piAPI(v, func(f madeFile) item {
			marked := q.fileURL("watermark"+extensions[f.kind], v.updated)
			file := item{"resource": marked, "resource_without_watermark": f.url, "duration": 2000}
			return item{"works": []item{{"contentType": f.kind, f.kind: file, "cover": item{"resource": q.fileURL("cover.png", v.updated)}}}}
		})
	},
	"openaivideo": (*query).openAIVideo,
	"output":      func(q *query, v *view) any { return q.replicate(v, emptyAsNull(v.url)) },
	"outputlist": func(q *query, v *view) any {
		urls := []string{}
		for _, f := range v.files {
			urls = append(urls, f.url)
		}
		return q.replicate(v, urls)
	},
	"kie": (*query).kie,
}

// formWords are the words of the forms for the phases.
var formWords = map[string][phases]string{
	"v3":          {"submitted", "processing", "succeeded", "failed", "canceled", "reviewing", "timeout"},
	"geekai":      {"submitted", "processing", "success", "failed", "canceled", "reviewing", ""},
	"piapi":       {"staged", "processing", "completed", "failed", "canceled", "reviewing", ""},
	"openaivideo": {"queued", "in_progress", "completed", "failed", "cancelled", "reviewing", ""},
	"replicate":   {"starting", "processing", "succeeded", "failed", "canceled", "reviewing", ""},
	"kie":         {"waiting", "generating", "success", "fail", "canceled", "reviewing", ""},
}

// word is the word of a form for the phase.
func (q *query) word(form string, v *view) string {
	return q.gaveUpWord(v.phase, formWords[form][v.phase])
}

// gaveUpWord replaces the word of a relay that gave up by the one that the task's id chooses.
func (q *query) gaveUpWord(p phase, word string) string {
	if outcome := q.words[groupOutcome]; p == gaveUp && outcome != "relaytimeout" {
		return outcome
	}
	return word
}

// extensions of the files by their kind.
var extensions = map[string]string{"image": ".png", "video": ".mp4", "audio": ".mp3"}

// errorOf is an error with the reason of a view; nil without one.
func errorOf(v *view) any {
	if v.reason == "" {
		return nil
	}
	return item{"code": "generation_failed", "message": v.reason}
}

func emptyAsNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// request is the task's request, which some relays repeat in their answers: its image is no output.
func (q *query) request() item {
	return item{"prompt": "a cat", "image_url": q.fileURL("input.png", q.seen.first), "aspect_ratio": "16:9"}
}

func (q *query) geekAI(v *view) any {
	record := item{"task_id": q.taskID(), "task_status": q.word("geekai", v)}
	for _, f := range v.files {
		list, _ := record[f.kind+"_result"].([]item)
		record[f.kind+"_result"] = append(list, item{"url": f.url, "cover_image_url": q.fileURL("cover.png", v.updated)})
	}
	if v.reason != "" {
		record["error"] = errorOf(v)
	}
	return record
}

// piAPI writes the output of the first file only, like the relay.
func (q *query) piAPI(v *view, output func(madeFile) item) any {
	failure := item{"code": 0, "raw_message": "", "message": ""}
	if v.reason != "" {
		failure = item{"code": 10000, "raw_message": v.reason, "message": v.reason}
	}
	record := item{"task_id": q.taskID(), "model": "kling", "status": q.word("piapi", v), "input": q.request(), "output": item{}, "error": failure}
	if len(v.files) > 0 {
		record["output"] = output(v.files[0])
	}
	return q.envelope(http.StatusOK, "success", record)
}

func (q *query) openAIVideo(v *view) any {
	percent := [phases]int{0, 50, 100, 100, 100, 50, 100}[v.phase]
	return item{
		"id": q.taskID(), "object": "video", "model": "kling-v2-6", "status": q.word("openaivideo", v), "progress": percent, "created_at": v.created / 1000,
		"seconds": videoSeconds, "metadata": item{"url": v.url}, "error": errorOf(v),
	}
}

func (q *query) replicate(v *view, output any) any {
	link := q.ownURL() + q.req.URL.EscapedPath()
	return item{
		"id": q.taskID(), "status": q.word("replicate", v), "input": q.request(), "output": output, "error": emptyAsNull(v.reason), "logs": "",
		"urls": item{"get": link, "cancel": link + "/cancel"},
	}
}

func (q *query) kie(v *view) any {
	result := ""
	if v.url != "" {
		result = string(jsonReply(0, item{"resultUrls": []string{v.url}}).body)
	}
	return item{"code": http.StatusOK, "msg": "success", "data": item{
		"taskId": q.taskID(), "model": "kling-2.6/text-to-video", "state": q.word("kie", v), "param": string(jsonReply(0, q.request()).body),
		"resultJson": result, "failCode": emptyAsNull(map[bool]string{true: "500"}[v.reason != ""]), "failMsg": emptyAsNull(v.reason),
	}}
}
