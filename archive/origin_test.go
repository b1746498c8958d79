package archive_test

import (
	"testing"

	"github.com/klingwatch/klingwatch/archive"
)

// Browsers are sent to the store only where it has addresses of its own; no server is asked.
func TestTheOriginOfAStore(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for setting, want := range map[string]string{
		"file:": "",
		"s3://bucket/prefix?endpoint=https://s3.example":             "https://s3.example",
		"s3://bucket?endpoint=http://127.0.0.1:9000&path_style=true": "http://127.0.0.1:9000",
		"s3://bucket?endpoint=https://s3.example&path_style=false":   "https://bucket.s3.example",
		"s3://bucket?endpoint=https://s3.example&serve=stream":       "",
		"s3://bucket?region=eu-central-1":                            "https://bucket.s3.dualstack.eu-central-1.amazonaws.com",
	} {
		store, err := archive.Open(setting, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := archive.Origin(t.Context(), store); got != want || err != nil {
			t.Errorf("%s: %q %v, want %q", setting, got, err, want)
		}
	}
}
