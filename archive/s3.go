package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
)

// tries bounds how often a request is repeated that met a server too busy or out of
// reach. The pauses grow to a second: more is up to the caller, who has more time.
const tries = 5

// s3 keeps files in a bucket.
type s3 struct {
	spool
	place
	client *minio.Core
	clock  *serverClock

	single, part int64 // a file of more bytes than single is sent in parts

	// unconditional is set when the server does not know If-None-Match: then only the
	// look before a file is put keeps it from being replaced.
	unconditional atomic.Bool
}

func openS3(where place) (Store, error) {
	keys, err := credentialsFromOutside()
	if err != nil {
		return nil, err
	}
	region := where.region
	if region == "" && !strings.Contains(where.endpoint.Host, ".amazonaws.com") {
		region = "us-east-1" // what servers other than Amazon's expect, or do not look at
	}
	styles := map[string]minio.BucketLookupType{"true": minio.BucketLookupPath, "false": minio.BucketLookupDNS}
	clock := &serverClock{RoundTripper: newTransport(stall)}
	client, err := minio.NewCore(where.endpoint.Host, &minio.Options{
		Creds: keys, Secure: where.endpoint.Scheme == "https", Region: region, BucketLookup: styles[where.style],
		Transport: clock, MaxRetries: tries,
	})
	if err != nil { // it has the endpoint in its text, which holds no secret
		return nil, fmt.Errorf("KLINGWATCH_ARCHIVE has an endpoint that cannot be used: %w", err)
	}
	spool, err := openSpool(where.spool)
	if err != nil {
		return nil, err
	}
	return &s3{spool: spool, place: where, client: client, clock: clock, single: singlePut, part: partSize}, nil
}

// String names the bucket and the server.
func (s *s3) String() string {
	return fmt.Sprintf("s3://%s/%s at %s", s.bucket, s.prefix, s.endpoint.Host)
}

// Stat asks the server. Its answer to a HEAD has no body, so that a missing bucket looks
// like a missing file, and a wrong key like a missing right: a GET tells more.
func (s *s3) Stat(ctx context.Context, key string) (Info, error) {
	found, err := s.find(ctx, key)
	return Info{Size: found.Size, SHA256: found.UserMetadata["Sha256"], ContentType: found.ContentType}, err
}

func (s *s3) find(ctx context.Context, key string) (minio.ObjectInfo, error) {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return minio.ObjectInfo{}, err
	}
	found, err := s.head(ctx, key)
	return found, s.trouble("read "+key, s.reason(ctx, key, err))
}

// head is a single question, whose errors are for machines.
func (s *s3) head(ctx context.Context, key string) (minio.ObjectInfo, error) {
	return s.client.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
}

// reason finds out why a HEAD failed.
func (s *s3) reason(ctx context.Context, key string, failure error) error {
	var answer minio.ErrorResponse
	if !errors.As(failure, &answer) || answer.StatusCode >= http.StatusInternalServerError {
		return failure
	}
	first := minio.GetObjectOptions{}
	_ = first.SetRange(0, 0)
	body, _, _, err := s.client.GetObject(ctx, s.bucket, s.prefix+key, first)
	if err == nil {
		body.Close()
	}
	if err == nil || codeOf(err) == minio.NoSuchKey {
		return failure
	}
	return err
}

// Remove removes the object. In a bucket with versions, old ones stay.
func (s *s3) Remove(ctx context.Context, key string) error {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return err
	}
	err := s.client.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{})
	if codeOf(err) == minio.NoSuchKey {
		return nil
	}
	return s.trouble("remove "+key, err)
}

// Link signs an address. It works no longer than the credentials that signed it.
func (s *s3) Link(ctx context.Context, key string, lifetime time.Duration, name, contentType string) (string, error) {
	if err := checkKey(key); err != nil || s.stream {
		return "", err
	}
	answer := url.Values{}
	if name != "" {
		answer.Set("response-content-disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	}
	if contentType != "" {
		answer.Set("response-content-type", contentType)
	}
	if lifetime < time.Second || lifetime > 7*24*time.Hour {
		return "", errors.New("a link to S3 lives for 1 second to 7 days")
	}
	signed, err := s.client.PresignedGetObject(ctx, s.bucket, s.prefix+key, lifetime, answer)
	if err != nil {
		return "", s.trouble("sign a link to "+key, err)
	}
	return signed.String(), nil
}

// Check tells how the clocks compare: a server refuses requests whose time is too far
// from its own.
func (s *s3) Check(ctx context.Context) (Health, error) {
	if err := tryOut(ctx, s); err != nil {
		return Health{}, err
	}
	return Health{Free: -1, ClockAway: s.clock.ahead()}, nil
}

// ours are the keys of kept files, below the prefix: others may use the bucket, too.
var ours = regexp.MustCompile(`^[a-z0-9._-]+/[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9]+/[a-z]+-[0-9]+-[0-9a-f]{8}\.`)

// CleanSpool aborts old unfinished uploads as well: their parts cost as much as files.
func (s *s3) CleanSpool(ctx context.Context, olderThan time.Duration) (int, error) {
	removed, err := s.clean(ctx, olderThan)
	if err != nil {
		return removed, err
	}
	// to the end, even after an error: the sender of the channel waits for a reader
	for upload := range s.client.ListIncompleteUploads(ctx, s.bucket, s.prefix, true) {
		switch {
		case err != nil:
		case upload.Err != nil:
			err = upload.Err
		case ours.MatchString(strings.TrimPrefix(upload.Key, s.prefix)) && time.Since(upload.Initiated) >= olderThan:
			if err = s.client.AbortMultipartUpload(ctx, s.bucket, upload.Key, upload.UploadID); err == nil {
				removed++
			}
		}
		if code := codeOf(err); code == minio.NoSuchUpload || code == minio.NotImplemented {
			err = nil // another process was faster, or the server has no such uploads
		}
	}
	return removed, s.trouble("abort unfinished uploads", err)
}
