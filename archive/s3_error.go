package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/klingwatch/klingwatch/outbound"
)

// trouble explains an error of the S3 client: what was done, with what, what to try.
func (s *s3) trouble(what string, err error) error {
	switch kind := known(err); {
	case err == nil:
		return nil
	case codeOf(err) == minio.NoSuchKey:
		return fmt.Errorf("%w: %s could not %s", ErrNotFound, s, what)
	case errors.Is(kind, ErrAltered):
		return err
	default:
		return trouble{text: fmt.Sprintf("%s could not %s: %s", s, what, s.why(err)), kind: kind}
	}
}

// why chooses words of our own. What the server says may hold keys and what was signed:
// a bounded line of it is shown for codes that are not known here.
func (s *s3) why(err error) string {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return whyNoAnswer(err)
	}
	code := outbound.Truncate(outbound.Line(answer.Code), 60)
	switch code {
	case minio.NoSuchBucket:
		return "there is no such bucket; create it, or correct KLINGWATCH_ARCHIVE"
	case minio.InvalidAccessKeyID, minio.SignatureDoesNotMatch, "InvalidToken", "ExpiredToken", "TokenRefreshRequired", "XAdminUserNotFound":
		return "it refuses the access key (" + code + "); correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the credentials file"
	case minio.AccessDenied, "AllAccessDisabled":
		return "it refuses access (" + code + "); the access key needs s3:GetObject, s3:PutObject and s3:DeleteObject on the files, and s3:ListBucket on the bucket"
	case minio.RequestTimeTooSkewed:
		return fmt.Sprintf("its clock is %s from ours; set the clock of this machine", s.clock.ahead().Abs().Round(time.Second))
	case minio.AuthorizationHeaderMalformed, minio.InvalidRegion, "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException":
		return "the bucket is in another region (" + code + "); correct region= and endpoint= in KLINGWATCH_ARCHIVE"
	case minio.XAmzContentSHA256Mismatch, minio.BadDigest, minio.IncompleteBody:
		return "the bytes changed on their way (" + code + "); it will be tried again"
	case minio.PreconditionFailed, "ConditionalRequestConflict":
		return "another upload of the same file is under way (" + code + "); it will be tried again"
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage":
		return "it is full (" + code + "); free some space there"
	}
	switch answer.StatusCode {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return fmt.Sprintf("it is too busy (%s), %d times in a row; it will be tried again", code, tries)
	case http.StatusForbidden:
		return "it refuses access (" + code + "); correct the access key, or give it more rights"
	}
	return fmt.Sprintf("it answers %s: %s", code, outbound.Truncate(outbound.LogLine(answer.Message), 200))
}

func whyNoAnswer(err error) string {
	var ours trouble
	var request *url.Error // its text has the address with what was signed
	switch {
	case errors.As(err, &ours):
		return ours.text
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("nothing moved for %s; check the network and endpoint= in KLINGWATCH_ARCHIVE", stall)
	case errors.Is(err, context.Canceled):
		return "it was interrupted"
	case errors.Is(err, context.DeadlineExceeded):
		return "it took too long"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "its answers end early; check the network"
	case errors.As(err, &request):
		err = request.Err
	}
	return outbound.Truncate(outbound.LogLine(err.Error()), 300) + "; check the network and endpoint= in KLINGWATCH_ARCHIVE"
}
