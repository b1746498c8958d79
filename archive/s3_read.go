package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"
)

// Open asks for the size and the ETag; content is asked for by reads.
func (s *s3) Open(ctx context.Context, key string) (Content, error) {
	found, err := s.find(ctx, key)
	if err != nil {
		return Content{}, err
	}
	return Content{ReadSeekCloser: &object{ctx: ctx, store: s, key: key, size: found.Size, etag: found.ETag}, Size: found.Size}, nil
}

// object reads a file by one GET for each run of reads in sequence. A seek costs nothing
// until the next read.
type object struct {
	ctx   context.Context
	store *s3
	key   string
	size  int64
	etag  string

	offset int64         // of the next read
	body   io.ReadCloser // nil, or the answer to a GET that has come to offset
	cuts   int           // answers that ended early since the last byte
}

// mostCuts of answers without a byte between them are borne.
const mostCuts = 3

// Read goes on at the same byte when an answer ends early.
func (o *object) Read(p []byte) (int, error) {
	if o.offset >= o.size {
		return 0, io.EOF
	}
	for len(p) > 0 {
		if o.body == nil {
			if err := o.get(); err != nil {
				return 0, o.store.trouble("read "+o.key, err)
			}
		}
		n, err := o.body.Read(p[:min(int64(len(p)), o.size-o.offset)])
		o.offset += int64(n)
		if err != nil {
			o.drop()
		}
		if n > 0 {
			o.cuts = 0
			return n, nil
		}
		if o.cuts++; err != nil && o.cuts > mostCuts || o.ctx.Err() != nil {
			return 0, o.store.trouble("read "+o.key, err)
		}
	}
	return 0, nil
}

// get asks for everything from offset on, of the same object as before.
func (o *object) get() error {
	var rest minio.GetObjectOptions
	if o.offset > 0 {
		_ = rest.SetRange(o.offset, 0)
	}
	_ = rest.SetMatchETag(o.etag) // it fails only without one: some servers have none
	body, got, _, err := o.store.client.GetObject(o.ctx, o.store.bucket, o.store.prefix+o.key, rest)
	switch {
	case codeOf(err) == minio.PreconditionFailed || err == nil && got.ETag != o.etag:
		err = trouble{text: "another file took its place while it was read; read it again"}
	case err == nil && got.Size != o.size-o.offset:
		err = trouble{text: fmt.Sprintf("the server sends %d bytes instead of %d; it may not know ranges", got.Size, o.size-o.offset)}
	}
	if err != nil && body != nil {
		body.Close()
		return err
	}
	o.body = body
	return err
}

func (o *object) drop() {
	if o.body != nil {
		o.body.Close()
		o.body = nil
	}
}

// Seek asks for nothing.
func (o *object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.offset
	case io.SeekEnd:
		offset += o.size
	}
	if offset < 0 {
		return 0, errors.New("seek to before the beginning")
	}
	if offset != o.offset {
		o.drop()
		o.offset = offset
	}
	return offset, nil
}

// Close ends the answer that is being read.
func (o *object) Close() error {
	o.drop()
	return nil
}
