package api

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"pgregory.net/rapid"
)

// drawFor bounds the test, in whatever speed the machine answers.
const drawFor = 4 * time.Second

// mark is in what is sent, and must be in no problem; names in small letters may, since
// whoever misspells one wants to know which.
const mark = "Q7ZX"

// odd are texts that programs stumble over. Addresses lead nowhere.
var odd = []string{
	"", " ", mark, mark + "\x00", mark + "\u202e", mark + "\u0000\ufffe", mark + "\xff\xfe", mark + "💥", mark + "'; select 1--", mark + "%00", mark + "\r\n\t",
	mark + "{}[]<script>", strings.Repeat(mark, 2000), "../../" + mark, "NaN", "Infinity", "-1", "0", "1e400", "9223372036854775807", "9223372036854775808", "true", "null",
	"0001-01-01T00:00:00Z", "294277-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999+14:00", mark + "T00:00:00Z", mark + "\\ud800",
	"http://127.0.0.1:1/" + mark, "ftp://" + mark, "http://user:" + mark + "@127.0.0.1:1", "http://[::1", "all", "AAAAAAAAAAAAAAAAAAAAAA", `W/"` + mark + `"`, "1," + mark,
}

// plain are texts that pass more often.
var plain = []string{"t-1", "t-2", "videos", "text2video", "studio", "default", "second", "task.succeeded", "http://127.0.0.1:1/", "2026-01-02T03:04:05Z"}

var oddNumbers = []json.Number{
	"0", "-0", "1", "2", "3", "-1", "0.5", "60", "500", "2147483648", "9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e400", "1e-400", "1E2",
}

// drawer draws parts of requests from the specification.
type drawer struct {
	*rapid.T
	schemas huma.Registry
}

func (d drawer) one(in int, what string) bool { return rapid.IntRange(1, in).Draw(d.T, what) == in } // small numbers are drawn more often

func (d drawer) text() string {
	return rapid.OneOf(rapid.SampledFrom(plain), rapid.SampledFrom(plain), rapid.SampledFrom(odd)).Draw(d.T, "text")
}

// anything is a JSON value of any type.
func (d drawer) anything() any {
	switch rapid.IntRange(0, 5).Draw(d.T, "type") {
	case 0:
		return rapid.SampledFrom(oddNumbers).Draw(d.T, "number")
	case 1:
		return rapid.SampledFrom([]any{nil, true, false}).Draw(d.T, "literal")
	case 2:
		return []any{d.text(), nil}
	case 3:
		return map[string]any{d.text(): d.text()}
	}
	return d.text()
}

// value is mostly one that a schema takes.
func (d drawer) value(s *huma.Schema) any {
	if s.Ref != "" {
		s = d.schemas.SchemaFromRef(s.Ref)
	}
	switch {
	case d.one(25, "another type"):
		return d.anything()
	case len(s.OneOf) > 0:
		return d.value(rapid.SampledFrom(s.OneOf).Draw(d.T, "form"))
	case len(s.Enum) > 0:
		return rapid.SampledFrom(s.Enum).Draw(d.T, "enum")
	}
	switch s.Type {
	case huma.TypeObject:
		return d.object(s)
	case huma.TypeArray:
		var list []any
		for range rapid.IntRange(0, 3).Draw(d.T, "length") {
			list = append(list, d.value(s.Items))
		}
		return list
	case huma.TypeBoolean:
		return rapid.Bool().Draw(d.T, "boolean")
	case huma.TypeInteger, huma.TypeNumber:
		return rapid.OneOf(rapid.SampledFrom(oddNumbers[2:5]), rapid.SampledFrom(oddNumbers)).Draw(d.T, "number")
	case huma.TypeString:
		if s.Format == "date-time" && !d.one(4, "no time") {
			return plain[len(plain)-1]
		}
		return d.text()
	}
	return d.anything()
}

func (d drawer) object(s *huma.Schema) any {
	fields := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if d.one(6, "there") != slices.Contains(s.Required, name) {
			fields[name] = d.value(s.Properties[name])
		}
	}
	if s.AdditionalProperties == true || d.one(10, "unknown field") {
		fields[d.text()] = d.anything()
	}
	return fields
}

// body is JSON, or nearly; lone halves of surrogates can only be written by hand.
func (d drawer) body(s *huma.Schema) string {
	text, err := json.Marshal(d.value(s))
	if err != nil {
		d.Fatal(err)
	}
	body := strings.ReplaceAll(string(text), `\\ud800`, `\ud800`)
	switch rapid.IntRange(0, 30).Draw(d.T, "form of the body") {
	case 0:
		return body[:len(body)/2]
	case 1:
		return body + body
	case 2:
		return strings.Repeat("[", 20_000)
	case 3:
		return strings.ReplaceAll(body, mark, mark+"\xff\x00")
	case 4:
		return ""
	}
	return body
}

// parameter is a value as it stands in an address.
func (d drawer) parameter(s *huma.Schema) string {
	switch v := d.value(s).(type) {
	case []any:
		parts := make([]string, len(v))
		for i, part := range v {
			parts[i] = fmt.Sprint(part)
		}
		return strings.Join(parts, ",")
	default:
		return fmt.Sprint(v)
	}
}

// request draws one for an operation.
func (d drawer) request(s *service, r Route, op *huma.Operation) *http.Request {
	path, query, header := r.Path, url.Values{}, http.Header{}
	for _, p := range op.Parameters {
		switch {
		case p.In == "path":
			value := rapid.SampledFrom([]string{"1", "2", "t-1", "second", "daily", "default", "video", "0"}).Draw(d.T, "path")
			if d.one(6, "another path") {
				value = d.parameter(p.Schema)
			}
			path = strings.Replace(path, "{"+p.Name+"}", url.PathEscape(value), 1)
		case !d.one(5, p.Name), p.Name == "wait", p.Name == "Prefer": // those that wait take their time
		case p.In == "query" && p.Schema.Type == huma.TypeObject:
			query.Add(p.Name+"["+d.text()+"]", d.text())
		case p.In == "query":
			for range rapid.IntRange(1, 2).Draw(d.T, "times") {
				query.Add(p.Name, d.parameter(p.Schema))
			}
		default:
			header.Set(p.Name, strings.Map(printable, d.parameter(p.Schema)))
		}
	}
	if d.one(15, "unknown parameter") {
		query.Add(d.text(), d.text())
	}
	raw := query.Encode()
	if d.one(15, "broken query") {
		raw += rapid.SampledFrom([]string{"&%zz=" + mark, "&;" + mark, "&a=%", "&[]=" + mark, "&limit", "&metadata[=" + mark}).Draw(d.T, "broken")
	}
	body := ""
	if op.RequestBody != nil {
		body = d.body(op.RequestBody.Content["application/json"].Schema)
	}
	request, err := http.NewRequestWithContext(s.Context(), r.Method, s.url+path, strings.NewReader(body))
	if err != nil {
		d.Fatal(err)
	}
	request.URL.RawQuery, request.Header = raw, header
	request.Header.Set("Authorization", "Bearer "+s.keys[rapid.SampledFrom([]string{"admin", "admin", "admin", "app"}).Draw(d.T, "key")])
	if body != "" && !d.one(20, "no media type") {
		request.Header.Set("Content-Type", rapid.SampledFrom([]string{"application/json", "application/json", "application/json; charset=utf-8", "text/plain", mark}).Draw(d.T, "media type"))
	}
	return request
}

// printable keeps what a client can send in a header.
func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}

// Whatever is asked, the answer is as specified, no failure of ours, and tells nothing
// of a request that it refuses.
func TestRequestsDrawnFromTheSpecification(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.ended("t-1", "studio")
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, app) values ('t-2', 'videos', 'text2video', 'studio')`)
	s.exec(`insert into klingwatch.webhook_endpoints (url, event_types) values ('http://127.0.0.1:1/', '{task.succeeded}')`)
	var routes []func(drawer)
	deadline, answers := time.Now().Add(drawFor), map[int]int{}
	s.api.operations(func(r Route, op *huma.Operation) {
		routes = append(routes, func(d drawer) { answers[s.exchange(d, d.request(s, r, op))]++ })
	})
	rapid.Check(t, func(rt *rapid.T) {
		d := drawer{rt, s.api.huma.OpenAPI().Components.Schemas}
		for range 20 {
			if time.Now().After(deadline) {
				return
			}
			rapid.SampledFrom(routes).Draw(rt, "operation")(d)
		}
	})
	t.Log("answers by status:", answers)
}

// exchange makes a request and checks the answer.
func (s *service) exchange(d drawer, r *http.Request) int {
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		d.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer got.Body.Close()
	if got.Header.Get("Content-Type") == "text/event-stream" {
		return got.StatusCode
	}
	body, err := io.ReadAll(got.Body)
	if err != nil {
		d.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	if got.StatusCode >= http.StatusInternalServerError {
		d.Errorf("%s %s: %d %s", r.Method, r.URL, got.StatusCode, body)
	}
	if wrong := s.violations(r, got, body); wrong != "" {
		d.Error(wrong)
	}
	if told := string(body) + fmt.Sprint(got.Header); got.StatusCode >= http.StatusBadRequest && strings.Contains(told, mark) {
		d.Errorf("%s %s: a value of the request is in the answer: %s", r.Method, r.URL, told)
	}
	return got.StatusCode
}
