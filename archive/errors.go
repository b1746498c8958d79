package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"syscall"
)

var (
	// ErrNotFound says that a store has no file under a key.
	ErrNotFound = errors.New("the archive has no such file")
	// ErrTaken says that another file is kept under the key already.
	ErrTaken = errors.New("the archive keeps another file under this key")
	// ErrKey says that a text is no key.
	ErrKey = errors.New("this is no key of the archive")
	// ErrAltered says that the local file is not what the caller said of it.
	ErrAltered = errors.New("the file to be archived is not what was fetched")
)

// Temporary reports whether the same call may succeed later: the network, the server,
// the disk, or a person who has to correct something stood in its way. Of the others,
// the call itself is the cause.
func Temporary(err error) bool {
	return err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrTaken) &&
		!errors.Is(err, ErrKey) && !errors.Is(err, ErrAltered)
}

// trouble is an error for people. It hides the driver's error, which may hold keys and
// signatures, and lets errors.Is find only what callers ask for.
type trouble struct {
	text string
	kind error // one of the above, of context, or nil
}

func (t trouble) Error() string { return t.text }
func (t trouble) Unwrap() error { return t.kind }

// known finds those errors in a chain that callers ask for.
func known(err error) error {
	for _, kind := range []error{ErrNotFound, ErrTaken, ErrKey, ErrAltered, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}

func taken(key string, kept, offered int64) error {
	return fmt.Errorf("%w: %s has %d bytes there and %d bytes here; remove the one there if it is wrong", ErrTaken, key, kept, offered)
}

func altered(name string, is, said int64) error {
	return fmt.Errorf("%w: %s has %d bytes instead of %d; fetch it again", ErrAltered, name, is, said)
}

// keyPattern leaves out dots at the beginning of a folder, which is where the spool is,
// and with them ".." as well.
var keyPattern = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199})*$`)

// longestKey leaves room for a prefix within the 1,024 bytes of S3.
const longestKey = 600

func checkKey(key string) error {
	if len(key) > longestKey || !keyPattern.MatchString(key) {
		return fmt.Errorf("%w: %.100q; use letters, digits, '.', '_' and '-', in folders separated by '/' that begin with no dot", ErrKey, key)
	}
	return nil
}

// diskTrouble explains an error of the file system: what was done, to what, what to try.
func diskTrouble(what, dir string, err error) error {
	if err == nil {
		return nil
	}
	if kind := known(err); kind != nil {
		return err
	}
	reason := err.Error()
	if number := syscall.Errno(0); errors.As(err, &number) {
		reason = number.Error() // without the paths within dir
	}
	return trouble{text: fmt.Sprintf("the archive in %s could not %s: %s%s", dir, what, reason, remedy(err))}
}

func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "; free some space there, or let KLINGWATCH_ARCHIVE name a larger place"
	case errors.Is(err, syscall.EROFS):
		return "; mount it for writing"
	case errors.Is(err, fs.ErrPermission):
		return "; let the user of klingwatch write there"
	case errors.Is(err, fs.ErrNotExist):
		return "; is the disk mounted?"
	case errors.Is(err, syscall.EIO):
		return "; the disk may be broken"
	}
	return ""
}
