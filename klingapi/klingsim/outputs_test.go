package klingsim_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"image/png"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// results are the lists of each documented path: how many items, and their keys.
var results = func() map[string]map[string]string {
	const (
		byID     = "id url"
		byIndex  = "index url watermark_url"
		videos   = "1 duration id url watermark_url"
		shots    = "index url_1 url_2 url_3"
		speeches = "duration_mp3 duration_wav id url_mp3 url_wav"
	)
	lists := map[string]map[string]string{
		"images/generations":           {"images": "1 " + byID},
		"images/kolors-virtual-try-on": {"images": "1 " + byID},
		"images/omni-image":            {"images": "1 " + byIndex, "series_images": "3 " + byIndex},
		"images/multi-image2image":     {"images": "2 " + byIndex},
		"images/editing/expand":        {"images": "2 " + byIndex},
		"videos/effects":               {"videos": "1 id url watermark_url"},
		"general/ai-multi-shot":        {"images": "2 " + shots},
		"audio/text-to-audio":          {"audios": "2 " + speeches},
		"audio/video-to-audio":         {"audios": "1 " + speeches, "videos": videos},
	}
	for _, action2 := range []string{"text2video", "image2video", "multi-image2video", "multi-elements", "omni-video",
		"motion-control", "video-extend", "lip-sync", "advanced-lip-sync", "avatar/image2video"} {
		lists["videos/"+action2] = map[string]string{"videos": videos}
	}
	return lists
}()

func TestEveryPathHasItsDocumentedResult(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(results)), slices.Sorted(slices.Values(klingsim.Paths()))); diff != "" {
		t.Errorf("documented paths: %s", diff)
	}
	b := newBench()
	for path, want := range results {
		p := b.end(path + "/job-1")
		p.has(t, "data.task_status", "succeed")
		lists, _ := p.at("data.task_result").(map[string]any)
		got := map[string]string{}
		for name, list := range lists {
			items, _ := list.([]any)
			first, _ := items[0].(map[string]any)
			got[name] = strconv.Itoa(len(items)) + " " + strings.Join(slices.Sorted(maps.Keys(first)), " ")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		if duration := p.at("data.task_result.videos.0.duration"); duration != nil && duration != "2.0" {
			t.Errorf("%s: duration %#v, want a string", path, duration)
		}
		inSeed := path == "images/generations" || path == "images/kolors-virtual-try-on"
		if units, _ := p.at("data.final_unit_deduction").(string); (units == "") != inSeed {
			t.Errorf("%s: final_unit_deduction %q", path, units)
		}
		parent := strings.HasSuffix(path, "lip-sync") || strings.HasSuffix(path, "video-extend")
		if (p.at("data.task_info.parent_video.id") != nil) != parent {
			t.Errorf("%s: task_info %v", path, p.at("data.task_info"))
		}
	}
}

// outputs collects every URL in a reply.
func outputs(value any, urls []string) []string {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if link, ok := member.(string); ok && link != "" && strings.Contains(name, "url") {
				urls = append(urls, link)
			}
			urls = outputs(member, urls)
		}
	case []any:
		for _, member := range v {
			urls = outputs(member, urls)
		}
	}
	return urls
}

// It needs no key.
func TestEveryOutputURLServesAFileOfItsType(t *testing.T) {
	t.Parallel()
	b := newBench(func(c *klingsim.Config) { c.PublicURL = "" })
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	opened := map[string]int{}
	for _, path := range klingsim.Paths() {
		req := httptest.NewRequest(http.MethodGet, server.URL+"/kling/v1/"+path+"/quick-odd%2Fid%20%C3%BC", nil)
		req.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		b.ServeHTTP(w, req)
		var body any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		for _, link := range outputs(body, nil) {
			if !strings.Contains(link, "?x-kcdn-signature=") || !strings.Contains(link, "&expires=") {
				t.Errorf("not signed: %s", link)
			}
			file := httptest.NewRecorder()
			b.ServeHTTP(file, httptest.NewRequest(http.MethodGet, link, nil))
			if file.Code != http.StatusOK || file.Header().Get("Content-Length") != strconv.Itoa(file.Body.Len()) {
				t.Errorf("%s: HTTP %d, %s", link, file.Code, file.Header())
			}
			opened[file.Header().Get("Content-Type")]++
			checkFile(t, file.Header().Get("Content-Type"), file.Body.Bytes())
		}
		if len(outputs(body, nil)) == 0 {
			t.Errorf("%s: no URLs", path)
		}
	}
	for _, mediaType := range []string{"image/png", "video/mp4", "audio/mpeg", "audio/wav"} {
		if opened[mediaType] == 0 {
			t.Errorf("no file of type %s", mediaType)
		}
	}
}

func checkFile(t *testing.T, mediaType string, body []byte) {
	t.Helper()
	switch mediaType {
	case "image/png":
		if _, err := png.Decode(bytes.NewReader(body)); err != nil {
			t.Error(err)
		}
	case "video/mp4": // boxes: 4 bytes of length, 4 of type; the index is in front of the pictures
		var boxes []string
		for rest := body; len(rest) >= 8; {
			size := int(binary.BigEndian.Uint32(rest))
			if size < 8 || size > len(rest) {
				t.Fatalf("box of %d bytes, %d are left", size, len(rest))
			}
			boxes = append(boxes, string(rest[4:8]))
			rest = rest[size:]
		}
		moov, mdat := slices.Index(boxes, "moov"), slices.Index(boxes, "mdat")
		if boxes[0] != "ftyp" || moov < 0 || mdat < moov {
			t.Errorf("boxes %v", boxes)
		}
	case "audio/mpeg":
		if body[0] != 0xff || body[1]&0xe0 != 0xe0 {
			t.Errorf("begins with % x", body[:4])
		}
	case "audio/wav":
		if string(body[:4]) != "RIFF" || string(body[8:16]) != "WAVEfmt " || int(binary.LittleEndian.Uint32(body[4:])) != len(body)-8 {
			t.Errorf("begins with %q", body[:16])
		}
	default:
		t.Errorf("type %q", mediaType)
	}
}

func TestFilesAreClearedAfterTheirLifeOrWhenToldTo(t *testing.T) {
	t.Parallel()
	for _, link := range []string{"", "s3-", "sas-"} {
		b := newBench(func(c *klingsim.Config) { c.FileLife = time.Hour })
		url := func(id string) string {
			p := b.end("videos/text2video/" + link + id)
			return p.at("data.task_result.videos.0.url").(string)
		}
		first := url("first")
		status := func(url string) int { return b.do(http.MethodGet, url, "", "").status }
		if got := status(first); got != http.StatusOK {
			t.Errorf("%sa new file: %d", link, got)
		}
		b.clock.Advance(2 * time.Second)
		b.ClearFiles()
		if got := status(first); got != http.StatusNotFound {
			t.Errorf("%sa file that was cleared: %d", link, got)
		}
		b.clock.Advance(time.Minute)
		second := url("second")
		if got := status(second); got != http.StatusOK {
			t.Errorf("%sa file of a later task: %d", link, got)
		}
		b.clock.Advance(2 * time.Hour)
		if got := status(second); got != http.StatusNotFound {
			t.Errorf("%sa file after its life: %d", link, got)
		}
	}
}

func TestAPartOfAFileCanBeFetched(t *testing.T) {
	t.Parallel()
	b := newBench()
	req := httptest.NewRequest(http.MethodGet, "/files/job-1-videos-0.mp4?x-kcdn-signature=0", nil)
	req.Header.Set("Range", "bytes=4-7")
	w := httptest.NewRecorder()
	b.ServeHTTP(w, req)
	if w.Code != http.StatusPartialContent || w.Body.String() != "ftyp" {
		t.Errorf("HTTP %d %q", w.Code, w.Body)
	}

	picture := func(name string) string { return b.do(http.MethodGet, "/files/"+name, "", "").body }
	if picture("a-0.png") != picture("a-0.png") || picture("a-0.png") == picture("b-0.png") {
		t.Error("a picture does not depend on its task alone")
	}
}

// Every form that lists all files is understood to have the same ones, whatever the path makes.
func TestEveryFormNamesTheSameFiles(t *testing.T) {
	t.Parallel()
	b := newBench()
	client, err := klingapi.New(klingapi.Config{BaseURL: "http://relay.example", Credential: klingapi.StaticKey(key), Transport: b})
	if err != nil {
		t.Fatal(err)
	}
	count := func(path, form string) map[klingapi.Kind]int {
		action, action2, _ := strings.Cut(path, "/")
		reply, err := client.GetTask(t.Context(), klingapi.Ref{Action: action, Action2: action2, TaskID: form + "-quick-1"})
		if err != nil {
			t.Fatal(path, form, err)
		}
		kinds := map[klingapi.Kind]int{}
		for _, o := range reply.Record.Outputs {
			kinds[o.Kind]++
		}
		return kinds
	}
	for _, path := range klingsim.Paths() {
		want := count(path, "ok")
		for _, form := range []string{"newapi", "v3", "v3object", "geekai", "outputlist", "stringdata"} {
			if diff := cmp.Diff(want, count(path, form)); diff != "" {
				t.Errorf("%s as %s (-want +got):\n%s", path, form, diff)
			}
		}
	}
}
