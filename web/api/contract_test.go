package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// contractFile is what was promised under /v1, and only grows. make generate adds what is
// new, and refuses to take anything away: who must break the contract deletes the file
// first, which nobody overlooks, and makes it /v2 once there is a release.
const contractFile = "testdata/contract-v1.json"

// contract is what programs rely on.
type contract struct {
	Promises []string           `json:"promises"` // all stay
	Demands  []string           `json:"demands"`  // on requests; what was there gets no new one
	Limits   map[string]float64 `json:"limits"`   // on requests; none gets narrower
}

func TestNothingThatWasPromisedIsTakenAway(t *testing.T) {
	t.Parallel()
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	now := contractOf(t, a.Spec())
	text, err := os.ReadFile(contractFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	was := contract{}
	if err == nil {
		if err := json.Unmarshal(text, &was); err != nil {
			t.Fatal(err)
		}
	}
	broken := was.brokenBy(now)
	for _, what := range broken {
		t.Error("clients of /v1 break:", what)
	}
	encoded, err := json.MarshalIndent(now, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	encoded = append(encoded, '\n')
	switch {
	case *update && len(broken) == 0:
		if err := os.WriteFile(contractFile, encoded, 0o644); err != nil {
			t.Fatal(err)
		}
	case len(broken) == 0 && string(encoded) != string(text):
		t.Errorf("%s does not hold what is new, run make generate", contractFile)
	}
}

// brokenBy tells what a client of the contract misses in another one.
func (c contract) brokenBy(now contract) (broken []string) {
	for _, promise := range c.Promises {
		if !slices.Contains(now.Promises, promise) {
			broken = append(broken, "gone: "+promise)
		}
	}
	for _, demand := range now.Demands {
		if whose, _, _ := strings.Cut(demand, " needs "); slices.Contains(c.Promises, whose) && !slices.Contains(c.Demands, demand) {
			broken = append(broken, "new: "+demand)
		}
	}
	for place, limit := range now.Limits {
		known, limited := c.Limits[place]
		at, what, _ := strings.Cut(place, " at ")
		narrower := limit < known
		if strings.Contains(strings.ToLower(what), "min") {
			narrower = limit > known
		}
		if limited && narrower || !limited && slices.Contains(c.Promises, at) {
			broken = append(broken, fmt.Sprintf("narrower: %s, %v", place, limit))
		}
	}
	slices.Sort(broken)
	return broken
}

// limits are those of a schema that narrow what may be sent.
var limits = []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems"}

// reader collects the contract of a document.
type reader struct {
	contract
	schemas map[string]any
	seen    map[string]bool
}

func contractOf(t *testing.T, spec []byte) contract {
	t.Helper()
	var document struct {
		Paths      map[string]map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(spec, &document); err != nil {
		t.Fatal(err)
	}
	r := &reader{contract{Limits: map[string]float64{}}, document.Components.Schemas, map[string]bool{}}
	for path, methods := range document.Paths {
		for method, op := range methods {
			r.operation(strings.ToUpper(method)+" "+path, op)
		}
	}
	r.Promises = slices.Compact(slices.Sorted(slices.Values(r.Promises)))
	r.Demands = slices.Compact(slices.Sorted(slices.Values(r.Demands)))
	return r.contract
}

func (r *reader) promise(format string, args ...any) {
	r.Promises = append(r.Promises, fmt.Sprintf(format, args...))
}

func (r *reader) operation(name string, op map[string]any) {
	r.promise("%s", name)
	r.promise("%s is called %v", name, op["operationId"])
	r.promise("%s wants the scope %v", name, op["x-scope"])
	if all, _ := op["x-all-apps"].(bool); all {
		r.promise("%s is refused to the keys of apps", name)
	}
	for _, p := range list(op["parameters"]) {
		parameter := object(p)
		place := fmt.Sprintf("%s, %v %v", name, parameter["in"], parameter["name"])
		r.schema(place, object(parameter["schema"]), true)
		if parameter["required"] == true {
			r.Demands = append(r.Demands, fmt.Sprintf("%s needs %v %v", name, parameter["in"], parameter["name"]))
		}
	}
	if body := object(op["requestBody"]); len(body) > 0 {
		if body["required"] == true {
			r.Demands = append(r.Demands, name+" needs a body")
		}
		for media, content := range object(body["content"]) {
			r.schema(name+", body "+media, object(object(content)["schema"]), true)
		}
	}
	for status, response := range object(op["responses"]) {
		if status >= "400" { // one that does not occur any more breaks nobody; all have one form
			for media, content := range object(object(response)["content"]) {
				r.schema("errors as "+media, object(object(content)["schema"]), false)
			}
			continue
		}
		r.promise("%s answers %s", name, status)
		for header := range object(object(response)["headers"]) {
			r.promise("%s answers %s with the header %s", name, status, header)
		}
		for media, content := range object(object(response)["content"]) {
			r.schema(fmt.Sprintf("%s answers %s as %s", name, status, media), object(object(content)["schema"]), false)
		}
	}
}

// schema reads a schema under the name of its place; one that is shared, under its own.
func (r *reader) schema(place string, s map[string]any, sent bool) {
	r.promise("%s", place)
	if ref, ok := s["$ref"].(string); ok {
		name := ref[strings.LastIndex(ref, "/")+1:]
		r.promise("%s is %s", place, name)
		if way := fmt.Sprint(name, sent); !r.seen[way] {
			r.seen[way] = true
			r.schema(map[bool]string{true: "sent ", false: "told "}[sent]+name, object(r.schemas[name]), sent)
		}
		return
	}
	types := list(s["type"])
	if one, ok := s["type"].(string); ok {
		types = []any{one}
	}
	if sent {
		for _, one := range types {
			r.promise("%s takes %v", place, one)
		}
		for _, limit := range limits {
			if value, ok := s[limit].(float64); ok {
				r.Limits[place+" at "+limit] = value
			}
		}
	} else if len(types) > 0 {
		r.promise("%s is of the type %v", place, types)
	}
	for _, value := range list(s["enum"]) {
		r.promise("%s may be %v", place, value)
	}
	if s["additionalProperties"] == true {
		r.promise("%s may hold anything", place)
	}
	r.fields(place, s, sent)
	if items := object(s["items"]); len(items) > 0 {
		r.schema(place+"[]", items, sent)
	}
	for i, form := range list(s["oneOf"]) {
		r.schema(fmt.Sprintf("%s, form %d", place, i+1), object(form), sent)
	}
}

func (r *reader) fields(place string, s map[string]any, sent bool) {
	for field, of := range object(s["properties"]) {
		r.schema(place+"."+field, object(of), sent)
	}
	for _, field := range list(s["required"]) {
		if sent {
			r.Demands = append(r.Demands, fmt.Sprintf("%s needs %v", place, field))
		} else {
			r.promise("%s always has %v", place, field)
		}
	}
}

func object(v any) map[string]any { o, _ := v.(map[string]any); return o }

func list(v any) []any { l, _ := v.([]any); return l }

// The check is of use only where each of these is found.
func TestWhatBreaksClientsIsFound(t *testing.T) {
	t.Parallel()
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	was := contractOf(t, a.Spec())
	newTask := func(d map[string]any) map[string]any {
		return object(object(object(object(d["components"])["schemas"])["NewTask"]))
	}
	task := func(d map[string]any) map[string]any {
		return object(object(object(d["components"])["schemas"])["Task"])
	}
	operation := func(d map[string]any) map[string]any {
		return object(object(object(d["paths"])["/v1/tasks"])["get"])
	}
	for name, change := range map[string]func(map[string]any){
		"a path that is gone":      func(d map[string]any) { delete(object(d["paths"]), "/v1/outputs") },
		"a method that is gone":    func(d map[string]any) { delete(object(object(d["paths"])["/v1/tasks"]), "get") },
		"a parameter that is gone": func(d map[string]any) { operation(d)["parameters"] = list(operation(d)["parameters"])[1:] },
		"an answer that is gone":   func(d map[string]any) { delete(object(operation(d)["responses"]), "200") },
		"a wider scope":            func(d map[string]any) { operation(d)["x-scope"] = "admin" },
		"a refusal to apps": func(d map[string]any) {
			delete(object(object(object(d["paths"])["/v1/endpoints"])["get"]), "x-all-apps")
		},
		"a field that is gone":         func(d map[string]any) { delete(object(task(d)["properties"]), "external_id") },
		"a field that may be left out": func(d map[string]any) { task(d)["required"] = list(task(d)["required"])[1:] },
		"a field of another type":      func(d map[string]any) { object(object(task(d)["properties"])["polls"])["type"] = "string" },
		"a value of an enum that is gone": func(d map[string]any) {
			status := object(object(task(d)["properties"])["status"])
			status["enum"] = list(status["enum"])[1:]
		},
		"a field that is not taken any more": func(d map[string]any) { delete(object(newTask(d)["properties"]), "metadata") },
		"a field that is needed now":         func(d map[string]any) { newTask(d)["required"] = append(list(newTask(d)["required"]), "external_id") },
		"a shorter value":                    func(d map[string]any) { object(object(newTask(d)["properties"])["task_id"])["maxLength"] = 100 },
		"a limit that was not there":         func(d map[string]any) { object(object(newTask(d)["properties"])["callback_url"])["minLength"] = 10 },
	} {
		var document map[string]any
		if err := json.Unmarshal(a.Spec(), &document); err != nil {
			t.Fatal(err)
		}
		change(document)
		changed, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		if len(was.brokenBy(contractOf(t, changed))) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
	more := contract{slices.Clone(was.Promises), slices.Clone(was.Demands), maps.Clone(was.Limits)}
	more.Promises, more.Demands = append(more.Promises, "GET /v1/news", "sent News"), append(more.Demands, "sent News needs title")
	more.Limits["sent NewTask.task_id at maxLength"] = 300
	more.Limits["sent News.title at maxLength"] = 30
	if broken := was.brokenBy(more); len(broken) > 0 {
		t.Errorf("what is only new is taken for broken: %s", broken)
	}
}
