package klingapi_test

import (
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/klingapi"
)

// done is a record that has succeeded, but for its files.
const done = `"status":"success","task_id":"ID","progress":"100%"`

var fileDialects = []dialect{
	{name: "video_result", body: `{"task_id":"ID","task_status":"success","video_result":[{"url":"https://cdn.example/o.mp4","cover_image_url":"https://cdn.example/c.png"}]}`, want: "succeeded video[0]=o.mp4"},
	{name: "image_result as an object", action: "images", body: `{"task_id":"ID","task_status":"success","image_result":{"url":"https://cdn.example/o"}}`, want: "succeeded image[0]=o"},
	{name: "audio_result as a string", body: `{"task_id":"ID","task_status":"done","audio_result":"https://cdn.example/a"}`, want: "succeeded audio[0]=a"},
	{name: "output.video", body: `{"code":200,"data":{"task_id":"ID","status":"completed","input":{"image_url":"https://cdn.example/in.png"},"output":{"type":"x","video":"https://cdn.example/o.mp4"},"error":{"code":0,"message":""}}}`, want: "succeeded video[0]=o.mp4"},
	{name: "output.works, the file without watermark first", body: `{"data":{"task_id":"ID","status":"completed","output":{"works":[{"contentType":"video","video":{"resource":"https://cdn.example/w.mp4","resource_without_watermark":"https://cdn.example/o.mp4","duration":5}}]}}}`, want: "succeeded video[0]=o.mp4/5 video[1]=w.mp4/5"},
	{name: "output as a string", body: `{"id":"ID","status":"succeeded","output":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "output as a list", action: "images", body: `{"id":"ID","status":"succeeded","output":["https://cdn.example/0.webp","https://cdn.example/1.webp"]}`, want: "succeeded image[0]=0.webp image[1]=1.webp"},
	{name: "results as strings", body: `{` + done + `,"results":["https://cdn.example/0.mp4","https://cdn.example/1.mp4"]}`, want: "succeeded video[0]=0.mp4 video[1]=1.mp4"},
	{name: "result as an object with lists", body: `{` + done + `,"result":{"videos":[{"url":["https://cdn.example/0.mp4"]}],"images":[{"url":"https://cdn.example/0"}]}}`, want: "succeeded image[0]=0 video[0]=0.mp4"},
	{name: "metadata.url", body: `{"id":"ID","object":"video","status":"completed","progress":100,"metadata":{"url":"https://cdn.example/o"}}`, want: "succeeded video[0]=o"},
	{name: "clips with their own URLs", body: `{` + done + `,"clips":[{"id":"1","video_url":"https://cdn.example/0.mp4","duration":"5s"},{"id":"2","video_url":"https://cdn.example/1.mp4","duration":5.5}]}`, want: "succeeded video[0]=0.mp4/5 video[1]=1.mp4/5.5"},
	{name: "task_result in the singular", body: `{"task_id":"ID","task_status":"succeed","task_result":{"video":{"url":"https://cdn.example/o.mp4","duration":"5"}}}`, want: "succeeded video[0]=o.mp4/5"},
	{name: "urls", body: `{` + done + `,"urls":["https://cdn.example/0","https://cdn.example/1"]}`, want: "succeeded video[0]=0 video[1]=1"},
	{name: "audio_url beside video_url", body: `{` + done + `,"audio_url":"https://cdn.example/a","video_url":"https://cdn.example/v"}`, want: "succeeded video[0]=v audio[0]=a"},
	{name: "grouped outputs", body: `{"id":"ID","status":"succeeded","outputs":[{"type":"group","items":[{"type":"image","url":"https://cdn.example/0"},{"type":"image","url":"https://cdn.example/1"}]}]}`, want: "succeeded image[0]=0 image[1]=1"},
	{name: "fal: video as an object", body: `{"status":"COMPLETED","request_id":"ID","id":"ID","video":{"url":"https://cdn.example/o.mp4","content_type":"video/mp4","file_name":"o.mp4"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "a field of the relay's own, with an extension", body: `{` + done + `,"final_cut":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "a number is a duration", body: `{` + done + `,"video_url":"https://cdn.example/o.mp4","duration":5}`, want: "succeeded video[0]=o.mp4/5"},

	{name: "the request's image is no file", body: `{` + done + `,"image_url":"https://cdn.example/in.png","video_url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "input, params and prompt are no files", body: `{` + done + `,"params":{"image":"https://cdn.example/1.png"},"input":{"video_url":"https://cdn.example/2.mp4"},"prompt":"https://cdn.example/3.png","output":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "frames and tails are no files", body: `{` + done + `,"first_frame":"https://cdn.example/1.png","image_tail":"https://cdn.example/2.png","last_frame_url":"https://cdn.example/3.png","result":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "covers and callbacks are no files", body: `{` + done + `,"cover":"https://cdn.example/1.png","callback_url":"https://app.example/x.mp4","thumbnail_url":"https://cdn.example/2.jpg","url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "a list of references is no file", body: `{` + done + `,"image_list":[{"image":"https://cdn.example/1.png"}],"reference_images":["https://cdn.example/2.png"],"url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},

	{name: "one of two is still empty", action: "images", body: `{"task_id":"ID","task_status":"succeed","task_result":{"images":[{"index":0,"url":"https://cdn.example/0.png"},{"index":1,"url":""}]}}`, want: "succeeded incomplete image[0]=0.png"},
	{name: "still null", body: `{"task_id":"ID","task_status":"succeed","task_result":{"videos":[{"id":"v","url":null}]}}`, want: "succeeded incomplete"},
	{name: "a file in the answer", action: "images", body: `{` + done + `,"image":"data:image/png;base64,iVBORw0KGgo="}`, want: "succeeded image[0]=data:image/png;base64,iVBORw0KGgo="},
	{name: "a file that is too large for that", action: "images", body: `{` + done + `,"image":"data:image/png;base64,` + strings.Repeat("A", klingapi.MaxInline) + `"}`, want: "succeeded too large"},

	{name: "the request's image under a plain name", body: `{"id":"ID","status":"completed","model":"kling","prompt":"a cat","image":"https://cdn.example/in.png","video":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "the request's images", body: `{` + done + `,"images":["https://cdn.example/1.png","https://cdn.example/2.png"],"video_url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "only the request's image", body: `{` + done + `,"image":"https://cdn.example/in.png"}`, want: "succeeded"},
	{name: "the request in data", body: `{"id":"ID","status":"succeeded","data":{"prompt":"a cat","image":"https://cdn.example/in.png"},"output":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "the request's video beside the output", body: `{` + done + `,"video_url":"https://cdn.example/in.mp4","output":{"video":"https://cdn.example/o.mp4"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "the request's video where audio is made", action: "audio", body: `{` + done + `,"video_url":"https://cdn.example/in.mp4","result":{"audios":[{"url":"https://cdn.example/o.mp3"}]}}`, want: "succeeded audio[0]=o.mp3"},
	{name: "the request under odd names", body: `{` + done + `,"req":{"image":"https://cdn.example/1.png"},"original_request":{"images":["https://cdn.example/2.png"]},"paramJson":"{\"images\":[\"https://cdn.example/3.png\"]}","task_params":{"video":"https://cdn.example/4.mp4"},"user_input":{"file":"https://cdn.example/5.mp4"},"url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "the request in metadata", body: `{` + done + `,"metadata":{"url":"https://cdn.example/o.mp4","image":"https://cdn.example/in.png","end_image":"https://cdn.example/e.png"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "a reference of an image", action: "images", body: `{` + done + `,"image":"https://cdn.example/in.png","images":[{"url":"https://cdn.example/0.png"},{"url":"https://cdn.example/1.png"}]}`, want: "succeeded image[0]=0.png image[1]=1.png"},
	{name: "pictures of elements", action: "general", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"elements":[{"element_id":829,"element_image_list":{"frontal_image":"https://cdn.example/f.png","refer_images":[{"image_url":"https://cdn.example/r.png"}]}}]}}}`, want: `succeeded result={"elements":[{"element_id":829,"element_image_list":{"frontal_image":"https://cdn.example/f.png","refer_images":[{"image_url":"https://cdn.example/r.png"}]}}]}`},
	{name: "people have pictures, too", body: `{` + done + `,"author":{"avatar":"https://cdn.example/a.png","url":"https://example.com/u/1"},"url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "frames in every spelling", body: `{` + done + `,"result":{"video_url":"https://cdn.example/o.mp4","lastFrameUrl":"https://cdn.example/1.png","first_frame_img":"https://cdn.example/2.png","video_cover":"https://cdn.example/3.png","cover_src":"https://cdn.example/4.png","frames":["https://cdn.example/5.png"],"thumbs":[{"url":"https://cdn.example/6.png"}],"video_thumbnail_url":"https://cdn.example/7.png","preview_gif":"https://cdn.example/8.gif"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "a moving preview beside the video", body: `{` + done + `,"output":{"gif":"https://cdn.example/p.gif"},"video_url":"https://cdn.example/o.mp4"}`, want: "succeeded video[0]=o.mp4"},
	{name: "a GIF that is the image", action: "images", body: `{` + done + `,"images":[{"url":"https://cdn.example/o.gif"}]}`, want: "succeeded image[0]=o.gif"},
	{name: "the file with a watermark is no other file", body: `{` + done + `,"video":{"url":"https://cdn.example/o.mp4","url_with_watermark":"https://cdn.example/w.mp4","watermarked_url":"https://cdn.example/w2.mp4"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "no_watermark_url", body: `{` + done + `,"output":{"no_watermark_url":"https://cdn.example/o.mp4"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "subtitles and lists of a stream", body: `{` + done + `,"video_url":"https://cdn.example/o.mp4","subtitle_url":"https://cdn.example/o.srt","hls_url":"https://cdn.example/o.m3u8","captions":[{"url":"https://cdn.example/o.vtt"}]}`, want: "succeeded video[0]=o.mp4"},
	{name: "a playlist is all there is", body: `{` + done + `,"video_url":"https://cdn.example/o.m3u8"}`, want: "succeeded video[0]=o.m3u8"},
	{name: "one file under two signatures", body: `{` + done + `,"url":"https://cdn.example/o.mp4?Expires=1796126400&Signature=a","download_url":"https://cdn.example/o.mp4?Expires=1796126401&Signature=b"}`, want: "succeeded video[0]=o.mp4?Expires=1796126400&Signature=a"},
	{name: "files that differ in a parameter", action: "images", body: `{` + done + `,"images":[{"url":"https://cdn.example/f.png?id=1"},{"url":"https://cdn.example/f.png?id=2"}]}`, want: "succeeded image[0]=f.png?id=1 image[1]=f.png?id=2"},
	{name: "two files in one text", body: `{` + done + `,"video_urls":"https://cdn.example/0.mp4,https://cdn.example/1.mp4"}`, want: "succeeded video[0]=0.mp4 video[1]=1.mp4"},
	{name: "the link to the task is no file", body: `{"id":"ID","status":"completed","url":"http://HOST/kling/v1/videos/any/ID"}`, want: "bare"},
	{name: "links to pages are no files", body: `{` + done + `,"output":{"video":"https://cdn.example/o","page_url":"https://example.com/p/1","share_url":"https://example.com/s/1","dashboard_url":"https://example.com/d"}}`, want: "succeeded video[0]=o"},
	{name: "media types of the items", body: `{` + done + `,"output":[{"mime_type":"video/mp4","uri":"https://cdn.example/v"},{"mediaType":"image/png","uri":"https://cdn.example/i"},{"file_type":"audio","uri":"https://cdn.example/a"}]}`, want: "succeeded video[0]=v image[0]=i audio[0]=a"},
	{name: "a list of videos in a result", body: `{` + done + `,"result":{"video_list":[{"video_id":"1","video_url":"https://cdn.example/0"},{"video_id":"2","video_url":"https://cdn.example/1"}]}}`, want: "succeeded video[0]=0 video[1]=1"},
	{name: "a name of the relay's own, without an extension", body: `{` + done + `,"output":{"generated_video":"https://cdn.example/o"}}`, want: "succeeded video[0]=o"},
	{name: "groups with outputs", body: `{"id":"ID","status":"succeeded","outputs":[{"type":"group","group":0,"outputs":[{"type":"image","url":"https://cdn.example/0.png"}]},{"type":"group","group":1,"outputs":[{"type":"image","url":"https://cdn.example/1.png"}]}]}`, want: "succeeded image[0]=0.png image[1]=1.png"},
	{name: "a result as a string of JSON", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":"{\"videos\":[{\"url\":\"https://cdn.example/o.mp4\",\"duration\":\"5\"}]}"}}`, want: "succeeded video[0]=o.mp4/5"},
	{name: "a result as a list", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":[{"videos":[{"url":"https://cdn.example/o.mp4"}]}]}}`, want: "succeeded video[0]=o.mp4"},
	{name: "minutes and seconds", body: `{` + done + `,"output":{"url":"https://cdn.example/o.mp4","duration":"00:05"}}`, want: "succeeded video[0]=o.mp4/5"},
	{name: "hours, minutes and seconds", body: `{` + done + `,"output":{"url":"https://cdn.example/o.mp4","duration":"00:01:05.040"}}`, want: "succeeded video[0]=o.mp4/65.04"},
	{name: "milliseconds by the field", body: `{` + done + `,"output":{"url":"https://cdn.example/o.mp4","duration_ms":5041}}`, want: "succeeded video[0]=o.mp4/5.041"},
	{name: "milliseconds by the unit", body: `{` + done + `,"output":{"url":"https://cdn.example/o.mp4","duration":"5041ms"}}`, want: "succeeded video[0]=o.mp4/5.041"},
	{name: "a duration that is none", body: `{` + done + `,"output":{"url":"https://cdn.example/o.mp4","duration":"long","video_duration":-1}}`, want: "succeeded video[0]=o.mp4"},
	{name: "a url of a named list is still empty", body: `{"task_id":"ID","task_status":"succeed","task_result":{"videos":[{"id":"v","video_url":""}]}}`, want: "succeeded incomplete"},
	{name: "typed items are still empty", body: `{"id":"ID","status":"succeeded","outputs":[{"type":"video","url":"https://cdn.example/o.mp4"},{"type":"audio","url":""}]}`, want: "succeeded incomplete video[0]=o.mp4"},
	{name: "a cover is no result", body: `{` + done + `,"result":{"cover_url":"https://cdn.example/c.png"}}`, want: "succeeded"},
	{name: "a remark is no result", body: `{` + done + `,"result":{"code":0,"msg":"ok","progress":100}}`, want: "succeeded"},
	{name: "a relay's file of its own needs the key", body: `{` + done + `,"url":"http://HOST/v1/files/file-1/content"}`, want: "succeeded video[0]=key:http://HOST/v1/files/file-1/content"},
	{name: "a cover beside the video", body: `{` + done + `,"assets":{"video":"https://cdn.example/o.mp4","image":"https://cdn.example/c.jpg"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "a link to download the same", body: `{` + done + `,"url":"https://cdn.example/o.mp4","download_url":"https://gw.example/dl?id=1"}`, want: "succeeded video[0]=o.mp4"},
	{name: "nulls in lists", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"videos":[null,{"url":"https://cdn.example/o.mp4"},null],"images":null}}}`, want: "succeeded video[0]=o.mp4"},
	{name: "images in a group of one list each", action: "images", body: `{"code":0,"data":{"task_id":"ID","task_status":"succeed","task_result":{"images":[[{"url":"https://cdn.example/0.png"}],[{"url":"https://cdn.example/1.png"}]]}}}`, want: "succeeded image[0]=0.png image[1]=1.png"},
	{name: "files by their index", action: "images", body: `{` + done + `,"output":{"0":"https://cdn.example/0.png","1":"https://cdn.example/1.png"}}`, want: "succeeded image[0]=0.png image[1]=1.png"},
	{name: "a file by its quality", body: `{` + done + `,"result":{"1080p":{"url":"https://cdn.example/o.mp4"}}}`, want: "succeeded video[0]=o.mp4"},
	{name: "an expiry inside a success", body: `{"id":"ID","status":"completed","output":{"url":"https://cdn.example/o.mp4","status":"expired"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "a URL in capitals with spaces around", body: `{` + done + `,"url":" HTTPS://cdn.example/o.MP4 "}`, want: "succeeded video[0]=HTTPS://cdn.example/o.MP4"},
	{name: "seconds, the usual way, with a word", body: `{` + done + `,"output":{"url":"https://cdn.example/o.mp4","duration":"5 seconds"}}`, want: "succeeded video[0]=o.mp4/5"},
	{name: "a file of the request's own name inside outputs", body: `{"id":"ID","status":"succeeded","outputs":[{"type":"video","url":"https://cdn.example/o.mp4","input":{"image":"https://cdn.example/in.png"},"source_image":"https://cdn.example/s.png"}]}`, want: "succeeded video[0]=o.mp4"},
	{name: "lists of covers", body: `{` + done + `,"result":{"videos":["https://cdn.example/o.mp4"],"covers":["https://cdn.example/c.png"],"cover_images":["https://cdn.example/d.png"],"firstFrames":["https://cdn.example/e.png"]}}`, want: "succeeded video[0]=o.mp4"},
	{name: "an output that names the sound apart", body: `{` + done + `,"result":{"video":{"url":"https://cdn.example/o.mp4","sound":{"url":"https://cdn.example/s.mp3"}}}}`, want: "succeeded video[0]=o.mp4 audio[0]=s.mp3"},
	{name: "the digital human made a video", body: `{` + done + `,"result":{"digital_human_video":"https://cdn.example/o.mp4"}}`, want: "succeeded video[0]=o.mp4"},
	{name: "video_info", body: `{` + done + `,"video_info":{"video_url":"https://cdn.example/o","width":1}}`, want: "succeeded video[0]=o"},
	{name: "a host without a scheme is no URL", body: `{` + done + `,"url":"cdn.example/o.mp4"}`, want: "succeeded"},
	{name: "a file in base64", action: "images", body: `{` + done + `,"data":[{"b64_json":"iVBORw0KGgo=","revised_prompt":"a cat"}]}`, want: "succeeded image[0]=data:image/png;base64,iVBORw0KGgo="},
	{name: "a file in base64 that is too large", action: "images", body: `{` + done + `,"output":[{"image_base64":"/9j/` + strings.Repeat("A", klingapi.MaxInline) + `"}]}`, want: "succeeded too large"},
	{name: "a result too large for a webhook", body: `{` + done + `,"output":{"text":"` + strings.Repeat("A", klingapi.MaxInline) + `"}}`, want: "succeeded"},
	{name: "an id of the file alone is no result", body: `{` + done + `,"output":{"video_id":"v-1"}}`, want: "succeeded"},
	{name: "items that say that they are no outputs", body: `{` + done + `,"result":[{"type":"cover","url":"https://cdn.example/c.png"},{"role":"first_frame","url":"https://cdn.example/f.png"},{"type":"video","url":"https://cdn.example/o.mp4"}]}`, want: "succeeded video[0]=o.mp4"},
	{name: "the same files under two hosts", body: `{` + done + `,"outputs":["https://cdn.example/o.mp4"],"task_result":{"videos":[{"url":"https://other.example/x.mp4"}]}}`, want: "succeeded video[0]=o.mp4"},
	{name: "lists of two kinds", body: `{` + done + `,"outputs":["https://cdn.example/o.mp4"],"audios":[{"url":"https://cdn.example/a.mp3"}]}`, want: "succeeded video[0]=o.mp4 audio[0]=a.mp3"},
	{name: "origin_url", body: `{` + done + `,"output":{"origin_url":"https://cdn.example/o"}}`, want: "succeeded video[0]=o"},
	{name: "there is only one with a watermark", body: `{"task_id":"ID","task_status":"succeed","task_result":{"videos":[{"id":"v","url":"","watermark_url":"https://cdn.example/w.mp4","duration":"5"}]}}`, want: "succeeded incomplete video[0]=w.mp4/5"},
	{name: "the duration in metadata", body: `{"task_id":"ID","status":"completed","url":"https://cdn.example/o.mp4","format":"mp4","metadata":{"duration":5,"fps":30},"error":{"code":0,"message":""}}`, want: "succeeded video[0]=o.mp4/5"},
}

func TestFilesAreFoundWhereverTheyStand(t *testing.T) {
	t.Parallel()
	runAll(t, fileDialects)
}
