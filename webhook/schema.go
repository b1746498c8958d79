package webhook

import (
	_ "embed"
	"slices"
)

//go:embed event.schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of the body of every webhook. Under
// $defs it has one definition for each form: task_event, thin_task_event,
// endpoint_event and test_event.
func Schema() []byte { return slices.Clone(schema) }
