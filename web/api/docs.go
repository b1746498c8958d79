package api

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.html docs.css
var docsFiles embed.FS

var docsPages = template.Must(template.New("docs.html").ParseFS(docsFiles, "docs.html"))

// registerDocs serves the pages that describe the API and its problems, made of the
// specification: they take nothing from another host.
func (a *API) registerDocs() error {
	page, err := render("reference", map[string]any{"Groups": a.groups(), "Title": "klingwatch API"})
	if err != nil {
		return err
	}
	a.mux.HandleFunc("GET /docs", serveBytes("text/html; charset=utf-8", page))
	style, err := docsFiles.ReadFile("docs.css")
	if err != nil {
		return err
	}
	a.mux.HandleFunc("GET /docs/style.css", serveBytes("text/css; charset=utf-8", style))
	for _, k := range Kinds {
		if page, err = render("problem", map[string]any{"Kind": k, "Title": k.Title}); err != nil {
			return err
		}
		a.mux.HandleFunc("GET "+problemsAt+k.Name, serveBytes("text/html; charset=utf-8", page))
	}
	a.mux.HandleFunc("/docs/", func(w http.ResponseWriter, _ *http.Request) { writeProblem(w, problem(notFound, "")) })
	return nil
}

func render(name string, data any) ([]byte, error) {
	var page bytes.Buffer
	if err := docsPages.ExecuteTemplate(&page, name, data); err != nil {
		return nil, fmt.Errorf("making the page %s: %w", name, err)
	}
	return page.Bytes(), nil
}

func serveBytes(media string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		_, _ = w.Write(body)
	}
}

// Route is an operation.
type Route struct{ Method, Path string }

// operations calls see with every operation, by path and method.
func (a *API) operations(see func(Route, *huma.Operation)) {
	paths := a.huma.OpenAPI().Paths
	names := make([]string, 0, len(paths))
	for name := range paths {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		item := paths[name]
		for _, of := range []struct {
			method string
			op     *huma.Operation
		}{{http.MethodGet, item.Get}, {http.MethodPost, item.Post}, {http.MethodPatch, item.Patch}, {http.MethodDelete, item.Delete}} {
			if of.op != nil {
				see(Route{of.method, name}, of.op)
			}
		}
	}
}

// Routes are all operations.
func (a *API) Routes() (routes []Route) {
	a.operations(func(r Route, _ *huma.Operation) { routes = append(routes, r) })
	return routes
}

// group is a noun on the page.
type group struct {
	Name, Description string
	Operations        []shownOperation
}

// shownOperation is an operation on the page.
type shownOperation struct {
	Method, Path string
	Op           *huma.Operation
	Scope        string
	Curl         string
	Sent, Got    []field // of the body of a request, and of the answer to one that went well
}

// field is a property of an object on the page.
type field struct {
	Name, Type, Description string
	Required                bool
}

// fields are the properties of a body; those of one in a list where it is a list.
func (a *API) fields(content map[string]*huma.MediaType) (list []field) {
	media := content["application/json"]
	if media == nil {
		return nil
	}
	schema := a.resolve(media.Schema)
	if data := schema.Properties["data"]; data != nil && data.Items != nil {
		schema = a.resolve(data.Items)
	}
	names := slices.Sorted(maps.Keys(schema.Properties))
	for _, name := range names {
		of := schema.Properties[name]
		list = append(list, field{name, a.typeOf(of), of.Description, slices.Contains(schema.Required, name)})
	}
	return list
}

// resolve follows references, and takes the first of several forms.
func (a *API) resolve(s *huma.Schema) *huma.Schema {
	for {
		switch {
		case s.Ref != "":
			s = a.huma.OpenAPI().Components.Schemas.SchemaFromRef(s.Ref)
		case len(s.OneOf) > 0:
			s = s.OneOf[0]
		default:
			return s
		}
	}
}

// typeOf is what a value may be, in words.
func (a *API) typeOf(s *huma.Schema) string {
	nullable := s.Nullable
	s = a.resolve(s)
	text := cmp.Or(s.Format, s.Type, "anything")
	switch {
	case len(s.Enum) > 0:
		text = words(s.Enum)
	case s.Type == huma.TypeArray && s.Items != nil:
		text = "list of " + a.typeOf(s.Items)
	}
	if nullable {
		text += ", or null"
	}
	return text
}

// words joins values: a, b or c.
func words(values []any) string {
	text := ""
	for i, value := range values {
		switch {
		case i == 0:
		case i == len(values)-1:
			text += " or "
		default:
			text += ", "
		}
		text += fmt.Sprint(value)
	}
	return text
}

// Allowed are the values that a parameter may have, in words.
func (o shownOperation) Allowed(p *huma.Param) string {
	schema := p.Schema
	if schema != nil && schema.Items != nil {
		schema = schema.Items
	}
	if schema == nil || len(schema.Enum) == 0 {
		return ""
	}
	return words(schema.Enum)
}

func (a *API) groups() []group {
	groups := make([]group, len(a.huma.OpenAPI().Tags))
	for i, tag := range a.huma.OpenAPI().Tags {
		groups[i] = group{Name: tag.Name, Description: tag.Description}
	}
	a.operations(func(r Route, op *huma.Operation) {
		i := slices.IndexFunc(groups, func(g group) bool { return g.Name == op.Tags[0] })
		scope, _ := op.Extensions["x-scope"].(string)
		groups[i].Operations = append(groups[i].Operations, shownOperation{
			Method: r.Method, Path: r.Path, Op: op, Scope: scope, Curl: a.curl(r, op), Sent: a.sent(op), Got: a.got(op),
		})
	})
	return groups
}

func (a *API) sent(op *huma.Operation) []field {
	if op.RequestBody == nil {
		return nil
	}
	return a.fields(op.RequestBody.Content)
}

func (a *API) got(op *huma.Operation) []field {
	for _, status := range []string{"200", "201", "202"} {
		if answer := op.Responses[status]; answer != nil {
			return a.fields(answer.Content)
		}
	}
	return nil
}

// curl is a line for a shell that makes a request of an operation.
func (a *API) curl(r Route, op *huma.Operation) string {
	line := "curl -H \"Authorization: Bearer $KEY\""
	if r.Method != http.MethodGet {
		line += " -X " + r.Method
	}
	if op.RequestBody != nil {
		if media := op.RequestBody.Content["application/json"]; media != nil {
			line += " -H 'Content-Type: application/json' -d '" + a.example(media.Schema) + "'"
		}
	}
	path := strings.NewReplacer("{id}", "1", "{name}", "daily", "{task_id}", "CjMT7WdSwWcAAAAAALvB3g").Replace(r.Path)
	if strings.HasPrefix(path, "/v1/relays") {
		path = strings.Replace(path, "/daily", "/second", 1)
	}
	return line + " $HOST" + path
}

// example is a body with what is required, or where nothing is, with what has an example.
func (a *API) example(s *huma.Schema) string {
	s = a.resolve(s)
	values := map[string]any{}
	for name, of := range s.Properties {
		if slices.Contains(s.Required, name) || len(s.Required) == 0 && len(of.Examples) > 0 {
			values[name] = a.exampleValue(of)
		}
	}
	text, _ := json.Marshal(values) // of our own making
	return string(text)
}

func (a *API) exampleValue(s *huma.Schema) any {
	switch {
	case s.Ref != "":
		return json.RawMessage(a.example(s))
	case len(s.Examples) > 0:
		return s.Examples[0]
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type == huma.TypeArray:
		return []any{}
	case s.Type == huma.TypeString:
		return "..."
	}
	return 1
}
