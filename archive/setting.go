package archive

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// place is what a setting says.
type place struct {
	dir  string // of the disk store
	make bool   // dir with its parents, because no person has chosen it

	bucket, prefix string // of S3; the prefix ends with a slash or is empty
	endpoint       *url.URL
	region         string
	style          string // path_style: "true", "false" or ""
	stream         bool   // serve
	spool          string
}

// amazon finds the host of a bucket by its region.
const amazon = "https://s3.amazonaws.com"

var (
	bucketPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionPattern = regexp.MustCompile(`^[A-Za-z0-9-]{0,64}$`)
)

// parse reads a setting. Its errors show no part of it that may be a secret.
func parse(setting, dataDir string) (place, error) {
	where, err := place{}, error(nil)
	switch {
	case strings.HasPrefix(setting, "file:"):
		where, err = parseFile(strings.TrimPrefix(setting, "file:"), dataDir)
	case strings.HasPrefix(setting, "s3://"):
		where, err = parseS3(setting, dataDir)
	default:
		err = errors.New("is neither file:, file:/PATH nor s3://BUCKET/PREFIX?endpoint=...&region=...")
	}
	if err != nil {
		return place{}, fmt.Errorf("KLINGWATCH_ARCHIVE %w", err)
	}
	return where, nil
}

func parseFile(path, dataDir string) (place, error) {
	switch {
	case path == "":
		return place{dir: filepath.Join(dataDir, "archive"), make: true}, nil
	case strings.ContainsAny(path, "?#\x00"):
		return place{}, errors.New("has a ?, # or NUL in its path: file: takes a directory and nothing else")
	case strings.HasPrefix(path, "//") && !strings.HasPrefix(path, "///"):
		return place{}, errors.New("names a host after file:// : write file:/PATH")
	case !filepath.IsAbs(path):
		return place{}, fmt.Errorf("has the path %.100q, which depends on where klingwatch is started: write the whole path, file:/PATH", path)
	}
	return place{dir: filepath.Clean(path)}, nil
}

func parseS3(setting, dataDir string) (place, error) {
	address, err := url.Parse(setting)
	if err != nil { // its text would show the whole setting
		return place{}, errors.New("is no URL: write s3://BUCKET/PREFIX?endpoint=...&region=..., with %25 for %")
	}
	options, err := url.ParseQuery(address.RawQuery)
	prefix := strings.Trim(address.Path, "/")
	switch {
	case address.User != nil:
		return place{}, errors.New("has a user or key before the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
	case address.Host == "":
		return place{}, errors.New("names no bucket: write s3://BUCKET/PREFIX")
	case !bucketPattern.MatchString(address.Host):
		return place{}, fmt.Errorf("names the bucket %.70q: buckets have 3 to 63 small letters, digits, '-' and '.'", address.Host)
	case prefix != "" && (checkKey(prefix) != nil || len(prefix) > 300):
		return place{}, fmt.Errorf("has the prefix %.100q: use up to 300 letters, digits, '.', '_' and '-', in folders separated by '/'", prefix)
	case address.Fragment != "":
		return place{}, errors.New("has a # in it: write %23")
	case err != nil:
		return place{}, errors.New("has parameters that are not of the form name=value&name=value")
	}
	where := place{bucket: address.Host, prefix: prefix, spool: filepath.Join(dataDir, "archive-spool")}
	if prefix != "" {
		where.prefix += "/"
	}
	return where, where.takeOptions(options)
}

func (p *place) takeOptions(options url.Values) (err error) {
	for name, values := range options {
		if known := []string{"endpoint", "region", "path_style", "serve"}; !slices.Contains(known, name) {
			return fmt.Errorf("has the unknown parameter %.40q: there are %s", name, strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return fmt.Errorf("has the parameter %s %d times", name, len(values))
		}
	}
	if p.endpoint, err = parseEndpoint(options.Get("endpoint")); err != nil {
		return err
	}
	p.region = cmp.Or(options.Get("region"), os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	p.style = options.Get("path_style")
	serve := options.Get("serve")
	p.stream = serve == "stream"
	switch {
	case !regionPattern.MatchString(p.region):
		return errors.New("or AWS_REGION has a region that is none: write region=eu-central-1")
	case !slices.Contains([]string{"", "true", "false"}, p.style):
		return errors.New("has a path_style that is neither true nor false")
	case !slices.Contains([]string{"", "redirect", "stream"}, serve):
		return errors.New("has a serve that is neither redirect nor stream")
	}
	return nil
}

func parseEndpoint(text string) (*url.URL, error) {
	if text == "" {
		text = amazon
	}
	endpoint, err := url.Parse(text)
	switch {
	case err != nil || endpoint.Scheme != "http" && endpoint.Scheme != "https" || endpoint.Hostname() == "":
		return nil, errors.New("has an endpoint that is not like https://s3.example.com or http://10.0.0.5:9000")
	case endpoint.User != nil:
		return nil, errors.New("has a user or key in its endpoint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
	case strings.Trim(endpoint.Path, "/") != "":
		return nil, errors.New("has an endpoint with a path: leave the path away, the bucket is named behind s3://")
	case endpoint.RawQuery != "" || endpoint.Fragment != "":
		return nil, errors.New("has an endpoint with a ? or # in it: write host and port only")
	}
	return endpoint, nil
}
