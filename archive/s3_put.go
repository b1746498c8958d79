package archive

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/minio/minio-go/v7"
)

// A file of up to singlePut bytes goes in one request, a larger one in parts, one after
// the other. Both are read from the local file as they are sent, and take no memory.
const (
	singlePut = 256 << 20
	partSize  = 64 << 20
)

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Put looks whether the file is there, as after a crash, sends it where it is not, and
// looks again: the second look is the server's own word, also when it took the file of
// another process, or when its answer to the first of two tries got lost.
func (s *s3) Put(ctx context.Context, key string, local *os.File, about Info) error {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return err
	}
	if err := checkSize(local, about); err != nil {
		return err
	}
	found, err := s.head(ctx, key)
	if codeOf(err) == minio.NoSuchKey {
		sent := s.send(ctx, key, local, about)
		if sent != nil && !mayBeThere(sent) {
			return s.trouble("keep "+key, sent)
		}
		if found, err = s.head(ctx, key); codeOf(err) == minio.NoSuchKey {
			lost := trouble{text: "it took the file, and does not have it; it will be tried again"}
			return s.trouble("keep "+key, cmp.Or[error](sent, lost))
		}
	}
	switch {
	case err != nil:
		return s.trouble("keep "+key, s.reason(ctx, key, err))
	case found.Size != about.Size:
		return taken(key, found.Size, about.Size)
	}
	return nil
}

// mayBeThere reports whether a refusal may mean that the file is there.
func mayBeThere(err error) bool {
	switch codeOf(err) {
	case minio.PreconditionFailed, "ConditionalRequestConflict", minio.NoSuchUpload:
		return true
	}
	return false
}

// send sends the file on condition that there is none, if the server knows conditions.
func (s *s3) send(ctx context.Context, key string, local *os.File, about Info) error {
	err := s.sendOnce(ctx, key, local, about)
	if codeOf(err) == minio.NotImplemented && s.unconditional.CompareAndSwap(false, true) {
		err = s.sendOnce(ctx, key, local, about)
	}
	return err
}

func (s *s3) sendOnce(ctx context.Context, key string, local *os.File, about Info) error {
	var condition minio.PutObjectOptions
	if !s.unconditional.Load() {
		condition.SetMatchETagExcept("*")
	}
	sum := about.SHA256
	if !sha256Hex.MatchString(sum) {
		hash := sha256.New()
		if _, err := io.Copy(hash, cancelable{ctx, io.NewSectionReader(local, 0, about.Size)}); err != nil {
			return err
		}
		sum = hex.EncodeToString(hash.Sum(nil))
	}
	if about.Size > s.single {
		return s.sendParts(ctx, s.prefix+key, local, about, sum, condition)
	}
	// with the hash of the whole as part of the signature, instead of one of each chunk:
	// chunks have a framing that some servers keep as part of the file
	whole := condition
	whole.DisableContentSha256 = true
	whole.ContentType, whole.UserMetadata = about.ContentType, map[string]string{"sha256": sum}
	all := body{local, 0, about.Size}
	_, err := s.client.PutObject(sending(ctx, all), s.bucket, s.prefix+key, all.reader(), all.size, "", sum, whole)
	return err
}

// sendParts sends the parts, compares what it has read with the hash of the whole, and
// only then has the server put them together.
func (s *s3) sendParts(ctx context.Context, name string, local *os.File, about Info, sum string, condition minio.PutObjectOptions) (err error) {
	upload, err := s.client.NewMultipartUpload(ctx, s.bucket, name, minio.PutObjectOptions{ContentType: about.ContentType, UserMetadata: map[string]string{"sha256": sum}})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_ = s.client.AbortMultipartUpload(soon, s.bucket, name, upload) // else CleanSpool will
		}
	}()
	var parts []minio.CompletePart
	whole := sha256.New()
	for offset := int64(0); offset < about.Size; offset += s.part {
		piece, hash := body{local, offset, min(s.part, about.Size-offset)}, sha256.New()
		if _, err := io.Copy(io.MultiWriter(hash, whole), cancelable{ctx, piece.reader()}); err != nil {
			return err
		}
		part, err := s.client.PutObjectPart(sending(ctx, piece), s.bucket, name, upload, len(parts)+1, piece.reader(), piece.size,
			minio.PutObjectPartOptions{Sha256Hex: hex.EncodeToString(hash.Sum(nil)), DisableContentSha256: true})
		if err != nil {
			return err
		}
		parts = append(parts, minio.CompletePart{PartNumber: part.PartNumber, ETag: part.ETag})
	}
	if wanted, _ := hex.DecodeString(sum); !bytes.Equal(whole.Sum(nil), wanted) {
		return fmt.Errorf("%w: %s has another sha256; fetch it again", ErrAltered, local.Name())
	}
	_, err = s.client.CompleteMultipartUpload(ctx, s.bucket, name, upload, parts, condition)
	return err
}

// codeOf is the server's word for what is wrong, or "".
func codeOf(err error) string {
	var answer minio.ErrorResponse
	errors.As(err, &answer)
	return answer.Code
}
