package worker

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/webhook"
)

var jsonBlock = regexp.MustCompile("(?s)```json\n(.*?)```")

// The body that the README shows is what a receiver gets: all fields, in the order that
// Postgres keeps them in.
func TestTheBodyInTheReadmeIsTheRealOne(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := jsonBlock.FindSubmatch(text)[1]
	var event webhook.Event
	decoder := json.NewDecoder(bytes.NewReader(shown))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&event); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	var real string
	if err := dbtest.New(t).QueryRow(t.Context(), `select $1::jsonb::text`, again).Scan(&real); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(string(shown)), " "); got != real {
		t.Errorf("the README shows\n%s\nreal is\n%s", got, real)
	}
}
