package archive

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// Store keeps files by their keys. A file is there whole or not at all, and never
// changes. A Store may be used by many at once, in any number of processes.
//
// A key is a path like default/2026/11/25/17/video-0-1f2e3d4c.mp4: letters, digits,
// '.', '_' and '-', in folders separated by '/', of which none begins with a dot.
type Store interface {
	// Put keeps a local file under a key. Where the key is taken by a file of the same
	// size it does nothing; with another size it returns ErrTaken. When it returns nil,
	// the store itself has confirmed the size. The local file stays where it is: the
	// caller removes it, and does not write to it any more.
	Put(ctx context.Context, key string, local *os.File, about Info) error

	// Open reads a file, or returns ErrNotFound. Reads end with ctx.
	Open(ctx context.Context, key string) (Content, error)

	// Stat returns what the store knows of a file, or ErrNotFound. The size is always
	// known, the rest only to S3.
	Stat(ctx context.Context, key string) (Info, error)

	// Remove removes a file. It is no error where there is none.
	Remove(ctx context.Context, key string) error

	// Link returns an address at the store itself that works for a while without
	// credentials. It is "" where the store has none, or shall not be shown: then the
	// file has to be read with Open. A browser saves the file under name, if there is
	// one, and is told contentType.
	Link(ctx context.Context, key string, lifetime time.Duration, name, contentType string) (string, error)

	// Check puts, reads and removes a small file, and reports what it learned.
	Check(ctx context.Context) (Health, error)

	// Spool is the local directory for files on their way, to be made there by
	// os.CreateTemp. The disk store takes them over from there without a copy.
	Spool() string

	// CleanSpool removes what killed processes left behind: files in the spool, and
	// unfinished uploads, that nobody has written to for olderThan. It returns how many.
	CleanSpool(ctx context.Context, olderThan time.Duration) (int, error)

	// String names the store for people, without secrets.
	String() string
}

// Info is what is known of a file.
type Info struct {
	Size        int64
	SHA256      string // hex
	ContentType string
}

// Content is an open file. For http.ServeContent, hand over the ReadSeekCloser itself:
// then files of the disk store go to the network without passing through memory.
type Content struct {
	io.ReadSeekCloser
	Size int64
}

// Health is what Check learned of a store that works.
type Health struct {
	Free      int64         // bytes; -1 where the store does not tell
	ClockAway time.Duration // how far the store's clock is ahead of ours; 0 within what it can tell
}

// Origin returns where browsers are sent for files, like https://s3.example.com; "" where the
// store has no addresses of its own.
func Origin(ctx context.Context, store Store) (string, error) {
	address, err := store.Link(ctx, "origin", time.Minute, "", "")
	if err != nil || address == "" {
		return "", err
	}
	return outbound.Origin(address)
}

// Open opens the store of a setting, which must not be empty:
//
//	file:                    the directory archive in dataDir
//	file:/srv/klingwatch     another directory
//	s3://bucket/prefix?endpoint=https://s3.example.com&region=eu-central-1
//
// S3 keeps its spool in dataDir. What may follow the '?':
//
//	endpoint     https://host, or http://host:port; Amazon's by default
//	region       by default AWS_REGION, AWS_DEFAULT_REGION, or what the server says
//	path_style   true: the bucket is in the path of URLs, false: in the host name; by
//	             default in the host name at Amazon's and in the path elsewhere
//	serve        redirect (default): Link returns addresses at the store, stream: it
//	             returns none
//
// The credentials for S3 come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
// AWS_SESSION_TOKEN, or from the profile AWS_PROFILE of AWS_SHARED_CREDENTIALS_FILE or
// ~/.aws/credentials, which may change at any time.
//
// Open makes directories, but does not talk to S3: Check does.
func Open(setting, dataDir string) (Store, error) {
	place, err := parse(setting, dataDir)
	if err != nil {
		return nil, err
	}
	if place.bucket == "" {
		return openDisk(place.dir, place.make)
	}
	return openS3(place)
}
