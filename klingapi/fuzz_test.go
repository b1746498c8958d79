package klingapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzInterpret feeds replies of any form: no panic, never a verdict without a
// known word, and a body that can be stored.
func FuzzInterpret(f *testing.F) {
	goldens, err := filepath.Glob("testdata/*.json")
	if err != nil || len(goldens) == 0 {
		f.Fatal("no golden files", err)
	}
	for _, file := range goldens {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(200, body)
		f.Add(500, body)
	}
	ref := Ref{Action: "videos", Action2: "text2video", TaskID: "867283741759111202"}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		reply, err := interpret(ref, &http.Response{StatusCode: status, Header: http.Header{}}, body, "relay.example")
		if err != nil {
			apiErr, ok := errors.AsType[*Error](err)
			if !ok || apiErr.Kind == "" {
				t.Fatalf("an error without a kind: %v", err)
			}
			return
		}
		if got := ParseStatus(reply.Record.Word); got != reply.Record.Status && reply.Record.Status != "" && !(got == Succeeded && reply.Record.Status == Failed) {
			t.Fatalf("%q became %q", reply.Record.Word, reply.Record.Status)
		}
		if !json.Valid(reply.Body) {
			t.Fatalf("the stored body is not JSON: %q", reply.Body)
		}
		r, seen := reply.Record, map[string]bool{}
		for _, o := range r.Outputs {
			place := fmt.Sprint(o.Kind, o.Position)
			if o.URL == "" || seen[o.URL] || seen[place] || r.Status != Succeeded {
				t.Fatalf("%+v with status %q", o, r.Status)
			}
			seen[o.URL], seen[place] = true, true
		}
		if r.Unsure && r.Status != Failed || r.Bare && r.Status != "" || r.ByRelay && r.Status != Failed && r.Status != Stopped || r.Result != nil && !json.Valid(r.Result) {
			t.Fatalf("marks that contradict each other: %+v", r)
		}
	})
}

// FuzzBatch feeds answers to two ids: no panic, an answer for each that is either a
// reply or an error, and bodies that can be stored.
func FuzzBatch(f *testing.F) {
	for _, body := range []string{
		`{"code":0,"data":[{"id":"A","status":"processing"},{"task_id":"B","task_status":"succeed"}]}`,
		`{"Data":{"A":{"Status":"failed"},"B":null,"total":3}}`, `{"code":1302,"data":"[{\"id\":\"A\"}]"}`, `[]`, `{"data":{}}`,
		`{"code":"success","data":{"task_id":"A","status":"SUCCESS","data":{"data":[{"external_id":"B","status":"done"}]}}}`,
	} {
		f.Add(200, []byte(body))
		f.Add(429, []byte(body))
	}
	refs := []Ref{{Action: "videos", Action2: "a", TaskID: "A"}, {Action: "images", Action2: "b", TaskID: "B"}, {Action: "videos", Action2: "a", TaskID: "A"}}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		p, err := decode(string(body))
		if err != nil {
			return
		}
		b := newBatch(p, "A", "B")
		answers, err := b.read(refs, Error{HTTPStatus: status}, "relay.example")
		if err != nil {
			if apiErr, ok := errors.AsType[*Error](err); !ok || apiErr.Kind == "" || answers != nil {
				t.Fatalf("an error without a kind: %v", err)
			}
			return
		}
		for i, a := range answers {
			apiErr, isErr := errors.AsType[*Error](a.Err)
			if isErr == (a.Reply != nil) || isErr && apiErr.Kind == "" || a.Reply != nil && !json.Valid(a.Reply.Body) {
				t.Fatalf("%s: %+v", refs[i].TaskID, a)
			}
		}
	})
}

// FuzzDecode compares what we decode with what the standard library does: the same
// documents, to the same trees. Only what Postgres refuses differs, and what is nested
// deeper than we read.
func FuzzDecode(f *testing.F) {
	nested := func(depth int) string { return strings.Repeat(`[{"a":`, depth/2) + "1" + strings.Repeat("}]", depth/2) }
	for _, text := range []string{
		"", " ", "{", "}", "{}", " [ ] ", `{"a"`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`, `{a:1}`, `[1,]`, `[1 2]`, `[1}`, `{} {}`, "{}\n", "[],", `{"a":1,"b":[true,false,null],"a":{"c":"d"}}`,
		"0", "-0", "01", "-", "+1", "1.", ".5", "1.50", "1e", "1e+", "1E-05", "1e400", "-12.5e+3", strings.Repeat("1", 1000), "nul", "nullx", "truefalse",
		`"`, `"a`, `"\`, `"\"`, `"\x"`, `"\\\"\/\b\f\n\r\t"`, `"\u00e9\u0000"`, `"\u12"`, `"\ud83d\ude00"`, `"\ud83d"`, `"中"`, "\"\xff\xfe\"", "{\"a\xff\":1}", "\"\x1f\"", "\"\x7f\"", "\x00", "\u00a01",
		nested(maxDepth), nested(maxDepth + 2), nested(20_000), "\xef\xbb\xbf1", `{"TaskId":1}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := decode(text)
		decoder := json.NewDecoder(strings.NewReader(strings.TrimPrefix(text, byteOrderMark)))
		decoder.UseNumber()
		var tree any
		valid := json.Valid([]byte(strings.TrimPrefix(text, byteOrderMark))) && decoder.Decode(&tree) == nil
		switch {
		case err != nil && valid && depthOf(tree) <= maxDepth, err == nil && !valid, err == nil && depthOf(tree) > maxDepth:
			t.Fatalf("valid: %v, error: %v", valid, err)
		case err == nil && !p.refused && !reflect.DeepEqual(plain(p.tree), tree):
			t.Fatalf("%v instead of %v", p.tree, tree)
		}
	})
}

// depthOf is how deeply a tree of the standard library is nested; 0: it is neither an object nor a list.
func depthOf(v any) (depth int) {
	switch v := v.(type) {
	case map[string]any:
		for _, value := range v {
			depth = max(depth, depthOf(value))
		}
	case []any:
		for _, value := range v {
			depth = max(depth, depthOf(value))
		}
	default:
		return 0
	}
	return 1 + depth
}

// plain is a tree in the types of the standard library.
func plain(v any) any {
	switch v := v.(type) {
	case object:
		o := make(map[string]any, len(v))
		for key, value := range v {
			o[key] = plain(value)
		}
		return o
	case []any:
		for i, value := range v {
			v[i] = plain(value)
		}
	}
	return v
}
