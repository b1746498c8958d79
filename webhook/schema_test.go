package webhook_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/webhook/webhooktest"
)

// structs are the Go types behind the definitions of the schema.
var structs = map[string]any{
	"task_event": webhook.Event{}, "task": webhook.Task{}, "output": webhook.Output{}, "archive": webhook.Archive{},
	"thin_task_event": webhook.ThinEvent{}, "thin_task": webhook.ThinTask{},
	"endpoint_event": webhook.EndpointEvent{}, "endpoint": webhook.Endpoint{},
	"test_event": webhook.TestEvent{},
}

// forms are the definitions of whole bodies.
var forms = []webhooktest.Form{webhooktest.Task, webhooktest.ThinTask, webhooktest.Endpoint, webhooktest.Test}

// definition is a part of the schema, as far as the tests read it.
type definition struct {
	Ref                  string                 `json:"$ref"`
	Title                string                 `json:"title"`
	Description          string                 `json:"description"`
	Type                 any                    `json:"type"` // one name, or a list of them
	Format               string                 `json:"format"`
	Enum                 []any                  `json:"enum"`
	Const                string                 `json:"const"`
	Required             []string               `json:"required"`
	Properties           map[string]*definition `json:"properties"`
	AdditionalProperties bool                   `json:"additionalProperties"`
	Items                *definition            `json:"items"`
	Examples             []json.RawMessage      `json:"examples"`
	Definitions          map[string]*definition `json:"$defs"`
}

func readSchema(t *testing.T) *definition {
	t.Helper()
	var root definition
	if err := json.Unmarshal(webhook.Schema(), &root); err != nil {
		t.Fatal(err)
	}
	return &root
}

// resolve follows a reference, whose own description counts more than the target's.
func (root *definition) resolve(d *definition) *definition {
	if d.Ref == "" {
		return d
	}
	path := strings.Split(strings.TrimPrefix(d.Ref, "#/$defs/"), "/properties/")
	target := root.Definitions[path[0]]
	for _, name := range path[1:] {
		target = target.Properties[name]
	}
	resolved := *root.resolve(target)
	if d.Description != "" {
		resolved.Description = d.Description
	}
	return &resolved
}

// kind is the type of a value in words.
func (d *definition) kind() string {
	var names []string
	switch types := d.Type.(type) {
	case string:
		names = []string{types}
	case []any:
		for _, name := range types {
			names = append(names, name.(string))
		}
	}
	if d.Format == "date-time" {
		names[0] = "time"
	}
	return inWords(names, "or")
}

// inWords lists names as in "a, b or c", with or as the conjunction.
func inWords(names []string, conjunction string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " " + conjunction + " " + names[last]
}

// kindOf is how the schema describes a Go type; "" where that says nothing.
func kindOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[json.Number]():
		return "number"
	case reflect.TypeFor[json.RawMessage]():
		return ""
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem()) + " or null"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		return "array"
	case reflect.Struct:
		return "object"
	}
	return t.Kind().String()
}

func TestTheSchemaAndTheStructsAgree(t *testing.T) {
	t.Parallel()
	root := readSchema(t)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(structs)), slices.Sorted(maps.Keys(root.Definitions))); diff != "" {
		t.Fatal(diff)
	}
	for name, d := range root.Definitions {
		var fields []string
		for _, field := range reflect.VisibleFields(reflect.TypeOf(structs[name])) {
			tag := field.Tag.Get("json") // without omitempty: every field is always there
			fields = append(fields, tag)
			property := d.Properties[tag]
			if property == nil {
				continue // the comparison below reports it
			}
			property = root.resolve(property)
			if want := kindOf(field.Type); want != "" && want != property.kind() {
				t.Errorf("%s.%s is %s in the schema, and %s in Go", name, tag, property.kind(), want)
			}
			if !strings.HasSuffix(property.Description, ".") {
				t.Errorf("%s.%s: a description is a sentence", name, tag)
			}
		}
		if diff := cmp.Diff(fields, d.Required); diff != "" {
			t.Errorf("%s: required is not what Go writes: %s", name, diff)
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(fields)), slices.Sorted(maps.Keys(d.Properties))); diff != "" {
			t.Errorf("%s: the properties are not what Go writes: %s", name, diff)
		}
		if !d.AdditionalProperties {
			t.Errorf("%s: properties may come", name)
		}
	}
}

func TestTheSchemaNamesAllTypes(t *testing.T) {
	t.Parallel()
	root := readSchema(t)
	var types []string
	for _, form := range []webhooktest.Form{webhooktest.Task, webhooktest.Endpoint} {
		for _, value := range root.Definitions[string(form)].Properties["type"].Enum {
			types = append(types, value.(string))
		}
	}
	if diff := cmp.Diff(webhook.Types, types); diff != "" {
		t.Error(diff)
	}
	if root.Definitions[string(webhooktest.Test)].Properties["type"].Const != webhook.Test {
		t.Error("the type of a test webhook is another one")
	}
}

// example returns the schema's example of a form on one line.
func example(t *testing.T, form webhooktest.Form) string {
	t.Helper()
	return compact(t, readSchema(t).Definitions[string(form)].Examples[0])
}

func compact(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTheExamplesAreWhatGoWrites(t *testing.T) {
	t.Parallel()
	for _, form := range forms {
		body := example(t, form)
		event := reflect.New(reflect.TypeOf(structs[string(form)])).Interface()
		if err := json.Unmarshal([]byte(body), event); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(body, marshal(t, event)); diff != "" {
			t.Errorf("%s: %s", form, diff)
		}
	}
	thin, err := webhook.Thin([]byte(example(t, webhooktest.Task)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(t, webhooktest.ThinTask), string(thin)); diff != "" {
		t.Errorf("the thin form of the example: %s", diff)
	}
}

// The README has the order of keys that Postgres gives them, which worker's tests check.
func TestTheDocumentedBodyIsTheExample(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"../README.md", "../docs/webhooks.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		block := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(text)
		if block == nil {
			t.Fatalf("%s shows no body", page)
		}
		if diff := cmp.Diff(inOneOrder(t, []byte(example(t, webhooktest.Task))), inOneOrder(t, block[1])); diff != "" {
			t.Errorf("%s: %s", page, diff)
		}
	}
}

// inOneOrder returns JSON with sorted keys.
func inOneOrder(t *testing.T, text []byte) string {
	t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	return marshal(t, value)
}

func TestABodyHasOneForm(t *testing.T) {
	t.Parallel()
	for _, form := range forms {
		for _, other := range append(forms, webhooktest.Any) {
			err := webhooktest.Check(other, []byte(example(t, form)))
			if fits := other == form || other == webhooktest.Any; fits != (err == nil) {
				t.Errorf("%s as %q: %v", form, other, err)
			}
		}
	}
}

// A body that lacks any of its properties is refused, one with more is not.
func TestEveryPropertyIsRequiredAndMoreMayCome(t *testing.T) {
	t.Parallel()
	for _, form := range forms {
		refused := 0
		body := parsed(t, example(t, form))
		objects := []map[string]any{body}
		for len(objects) > 0 {
			object := objects[0]
			objects = append(objects[1:], objectsIn(object)...)
			for name, value := range maps.Clone(object) {
				if name == "user" {
					continue // the caller's own
				}
				delete(object, name)
				for _, as := range []webhooktest.Form{form, webhooktest.Any} {
					// without outputs it is nearly a thin one, but not as a whole one
					if webhooktest.Check(as, []byte(marshal(t, body))) == nil && !(as == webhooktest.Any && name == "outputs") {
						t.Errorf("%s without %s is a %q", form, name, as)
					}
				}
				object[name] = value
				refused++
			}
			object["new"] = true
		}
		if err := webhooktest.Check(form, []byte(marshal(t, body))); err != nil || refused < 3 {
			t.Errorf("%s with new properties, after %d without one: %v", form, refused, err)
		}
	}
}

func parsed(t *testing.T, body string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(body), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// objectsIn returns the objects right below an object.
func objectsIn(object map[string]any) []map[string]any {
	var found []map[string]any
	for _, value := range object {
		switch value := value.(type) {
		case map[string]any:
			found = append(found, value)
		case []any:
			for _, item := range value {
				found = append(found, item.(map[string]any))
			}
		}
	}
	return found
}

func TestTheSchemaRefusesWhatIsNeverSent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		form     webhooktest.Form
		old, new string
	}{
		{webhooktest.Task, `"task.succeeded"`, `"task.pending"`},
		{webhooktest.Task, `"status":"succeeded"`, `"status":"pending"`},
		{webhooktest.Task, `"status":"succeeded"`, `"status":"failed"`},     // with files
		{webhooktest.Task, `"status":"succeeded"`, `"status":"processing"`}, // that has ended
		{webhooktest.Task, `"ended_by":"provider"`, `"ended_by":null`},
		{webhooktest.Task, `"ended_by":"provider"`, `"ended_by":"nobody"`},
		{webhooktest.Task, `"finished_at":"2026-11-23T08:15:30.123456Z"`, `"finished_at":null`},
		{webhooktest.Task, `"expires_at":"2026-12-23T08:15:29Z"`, `"expires_at":"2026-12-23"`},
		{webhooktest.Task, `"sequence":3`, `"sequence":0`},
		{webhooktest.Task, `"duration_seconds":5.041`, `"duration_seconds":"5.041"`},
		{webhooktest.Task, `"kind":"video"`, `"kind":"text"`},
		{webhooktest.Task, `"metadata":{"user":42}`, `"metadata":null`},
		{webhooktest.Task, `"result":null`, `"result":true`},
		{webhooktest.ThinTask, `"ended_by":"provider"`, `"ended_by":null`},
		{webhooktest.ThinTask, `"sequence":3`, `"sequence":3,"outputs":[]`},
		{webhooktest.Endpoint, `"reason":"`, `"reason":null,"was":"`},
		{webhooktest.Test, `"data":{}`, `"data":null`},
	} {
		body := strings.Replace(example(t, test.form), test.old, test.new, 1)
		if !strings.Contains(body, test.new) {
			t.Fatalf("the example of %s has no %s", test.form, test.old)
		}
		for _, form := range []webhooktest.Form{test.form, webhooktest.Any} {
			if webhooktest.Check(form, []byte(body)) == nil {
				t.Errorf("%s is a %q", test.new, form)
			}
		}
	}
}
