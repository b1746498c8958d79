package api

import (
	"encoding/json"
	"io"

	"github.com/danielgtaylor/huma/v2"
)

// jsonFormat reads and writes bodies. Those of a thousand tasks have two forms: as methods
// of the package json, these would have it go over each body once more.
var jsonFormat = huma.Format{
	Marshal: func(w io.Writer, body any) error {
		if created, ok := body.(CreatedTasks); ok {
			body = created.form()
		}
		return huma.DefaultJSONFormat.Marshal(w, body)
	},
	Unmarshal: func(text []byte, body any) error {
		if tasks, ok := body.(*NewTasks); ok {
			tasks.read(text)
			return nil
		}
		return json.Unmarshal(text, body)
	},
}

// Object is a JSON object of somebody else's.
type Object json.RawMessage

// Schema is that of any object.
func (Object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// MarshalJSON returns it as it is.
func (o Object) MarshalJSON() ([]byte, error) { return json.RawMessage(o).MarshalJSON() }

// UnmarshalJSON keeps it as it is.
func (o *Object) UnmarshalJSON(text []byte) error { return (*json.RawMessage)(o).UnmarshalJSON(text) }

// Any is a JSON value of somebody else's.
type Any json.RawMessage

// Schema is that of anything.
func (Any) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

// MarshalJSON returns it as it is.
func (a Any) MarshalJSON() ([]byte, error) { return json.RawMessage(a).MarshalJSON() }

// UnmarshalJSON keeps it as it is.
func (a *Any) UnmarshalJSON(text []byte) error { return (*json.RawMessage)(a).UnmarshalJSON(text) }

// Number is a number with all its digits.
type Number json.Number

// Schema is that of a number.
func (Number) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeNumber}, {Type: "null"}}}
}

// MarshalJSON returns its digits.
func (n Number) MarshalJSON() ([]byte, error) { return []byte(n), nil }

// Choice is a boolean or null, and knows whether it was there at all.
type Choice struct {
	chosen **bool // nil: it was left out
}

// Schema is that of a boolean or null.
func (Choice) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeBoolean, Nullable: true}
}

// UnmarshalJSON reads it, null as well.
func (c *Choice) UnmarshalJSON(text []byte) error {
	c.chosen = new(*bool)
	return json.Unmarshal(text, c.chosen)
}
