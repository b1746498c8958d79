// Package webhooktest checks the bodies of webhooks against their JSON Schema, as a
// consumer would: with a validator that is not ours. Only tests use it.
//
//	if err := webhooktest.Check(webhooktest.Task, body); err != nil {
//		t.Error(err)
//	}
package webhooktest

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/klingwatch/klingwatch/webhook"
)

// Form is one form of a body.
type Form string

// The forms, by their definitions in the schema.
const (
	Any      Form = "" // whichever fits
	Task     Form = "task_event"
	ThinTask Form = "thin_task_event"
	Endpoint Form = "endpoint_event"
	Test     Form = "test_event"
)

// Check returns an error unless body has the form; formats such as date-time count.
func Check(form Form, body []byte) error {
	schemas, err := compiled()
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("reading a webhook: %w", err)
	}
	if err := schemas[form].Validate(value); err != nil {
		return fmt.Errorf("checking the webhook %s: %w", body, err)
	}
	return nil
}

// compiled returns the schema of each form. The schema itself is checked as well.
var compiled = sync.OnceValues(func() (map[Form]*jsonschema.Schema, error) {
	const url = "https://github.com/klingwatch/klingwatch/webhook/event.schema.json" // its $id; nothing is fetched
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(webhook.Schema()))
	if err != nil {
		return nil, fmt.Errorf("reading the schema of webhooks: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(url, document); err != nil {
		return nil, fmt.Errorf("adding the schema of webhooks: %w", err)
	}
	schemas := map[Form]*jsonschema.Schema{}
	for _, form := range []Form{Any, Task, ThinTask, Endpoint, Test} {
		at := url
		if form != Any {
			at += "#/$defs/" + string(form)
		}
		if schemas[form], err = compiler.Compile(at); err != nil {
			return nil, fmt.Errorf("compiling the schema of webhooks: %w", err)
		}
	}
	return schemas, nil
})
