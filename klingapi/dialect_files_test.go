package klingapi_test

import (
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/klingapi"
)

// done is a record that has succeeded, but for its files.
const done = `"status":"success","task_id":"ID","progress":"100%"`

var fileDialects = append(dialectsOf("files"), []dialect{
	{name: "a file that is too large for that", action: "images", body: `{` + done + `,"image":"data:image/png;base64,` + strings.Repeat("A", klingapi.MaxInline) + `"}`, want: "succeeded too large"},
	{name: "a file in base64 that is too large", action: "images", body: `{` + done + `,"output":[{"image_base64":"/9j/` + strings.Repeat("A", klingapi.MaxInline) + `"}]}`, want: "succeeded too large"},
	{name: "a result too large for a webhook", body: `{` + done + `,"output":{"text":"` + strings.Repeat("A", klingapi.MaxInline) + `"}}`, want: "succeeded"},
}...)

func TestFilesAreFoundWhereverTheyStand(t *testing.T) {
	t.Parallel()
	runAll(t, fileDialects)
}
