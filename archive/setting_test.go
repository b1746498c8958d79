package archive_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/archive"
)

func TestSettingsAreReadStrictly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ setting, want string }{
		{"file:", ""},
		{"file:/srv/klingwatch", ""},
		{"file:///srv/klingwatch/", ""},
		{"s3://clips", ""},
		{"s3://clips/", ""},
		{"s3://clips/some/prefix?endpoint=https://s3.example.com&region=eu-central-1&path_style=true&serve=stream", ""},
		{"s3://clips?endpoint=http://10.0.0.5:9000/", ""},
		{"", "is neither file:, file:/PATH nor s3://BUCKET"},
		{"on", "is neither file:, file:/PATH nor s3://BUCKET"},
		{"/srv/klingwatch", "is neither file:, file:/PATH nor s3://BUCKET"},
		{"https://s3.example.com/clips", "is neither file:, file:/PATH nor s3://BUCKET"},
		{"file:archive", `the path "archive", which depends on where klingwatch is started`},
		{"file:~/archive", "write the whole path"},
		{"file://srv/archive", "names a host"},
		{"file:/srv?serve=stream", "file: takes a directory and nothing else"},
		{"s3://", "names no bucket"},
		{"s3:///prefix", "names no bucket"},
		{"s3://Clips", `names the bucket "Clips"`},
		{"s3://clips:9000/", `names the bucket "clips:9000"`},
		{"s3://secret:secret@clips", "has a user or key before the bucket"},
		{"s3://clips/../other", `has the prefix "../other"`},
		{"s3://clips/ä", "has the prefix"},
		{"s3://clips?endpoint=s3.example.com", "an endpoint that is not like https://"},
		{"s3://clips?endpoint=https://s3.example.com/clips", "has an endpoint with a path"},
		{"s3://clips?endpoint=https://secret:secret@s3.example.com", "has a user or key in its endpoint"},
		{"s3://clips?endpoint=https://s3.example.com%3Fsecret=secret", "has an endpoint with a ?"},
		{"s3://clips?endpoint=http://%25zz-secret", "an endpoint that is not like"},
		{"s3://clips?pathstyle=true", `unknown parameter "pathstyle": there are endpoint, region, path_style, serve`},
		{"s3://clips?region=a&region=b", "has the parameter region 2 times"},
		{"s3://clips?region=eu central", "has a region that is none"},
		{"s3://clips?path_style=yes", "path_style that is neither true nor false"},
		{"s3://clips?serve=proxy", "serve that is neither redirect nor stream"},
		{"s3://clips?secret=%zz", "parameters that are not of the form"},
		{"s3://clips/%zz-secret", "is no URL"},
		{"s3://clips#secret", "has a # in it"},
	} {
		err := archive.Parse(test.setting)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.setting, err)
		case test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "KLINGWATCH_ARCHIVE ") || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v\nwant: %s", test.setting, err, test.want)
		case err != nil && (strings.Contains(err.Error(), "secret:") || strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "zz")):
			t.Errorf("a secret may be in: %v", err)
		}
	}
}

func TestHalfOfTheCredentialsIsRefused(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err := archive.Open("s3://clips", t.TempDir())
	mustBeClear(t, err, "only one of them is set")
}

// A disk that is not mounted must not be mistaken for an empty directory.
func TestOnlyTheLastFolderIsMade(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "mounted")
	_, err := archive.Open("file:"+dir, "")
	mustBeClear(t, err, "the archive in "+dir+" could not make its directory: no such file or directory; is the disk mounted?")
	if _, err := archive.Open("file:", dir); err != nil {
		t.Errorf("the data directory is ours: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "archive")); err != nil {
		t.Error(err)
	}
}
