package api

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
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
}

func (a *API) groups() []group {
	groups := make([]group, len(a.huma.OpenAPI().Tags))
	for i, tag := range a.huma.OpenAPI().Tags {
		groups[i] = group{Name: tag.Name, Description: tag.Description}
	}
	a.operations(func(r Route, op *huma.Operation) {
		i := slices.IndexFunc(groups, func(g group) bool { return g.Name == op.Tags[0] })
		scope, _ := op.Extensions["x-scope"].(string)
		groups[i].Operations = append(groups[i].Operations, shownOperation{r.Method, r.Path, op, scope, a.curl(r, op)})
	})
	return groups
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

// example is a body with what is required.
func (a *API) example(s *huma.Schema) string {
	if s.Ref != "" {
		s = a.huma.OpenAPI().Components.Schemas.SchemaFromRef(s.Ref)
	}
	if len(s.OneOf) > 0 {
		return a.example(s.OneOf[0])
	}
	values := map[string]any{}
	for _, name := range s.Required {
		values[name] = a.exampleValue(s.Properties[name])
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
