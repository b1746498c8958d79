package archive

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// tryOut takes a small file through a store.
func tryOut(ctx context.Context, store Store) (err error) {
	text := []byte("klingwatch looks whether it can keep files here; this file may be removed.\n")
	local, err := localFile(store.Spool(), text)
	if err != nil {
		return diskTrouble("write to its spool", store.Spool(), err)
	}
	defer os.Remove(local.Name())
	defer local.Close()

	sum := sha256.Sum256(text)
	key := "check/" + rand.Text() + ".txt"
	defer func() { err = cmp.Or(err, gone(ctx, store, key)) }()
	if err := store.Put(ctx, key, local, Info{Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:]), ContentType: "text/plain"}); err != nil {
		return err
	}
	content, err := store.Open(ctx, key)
	if err != nil {
		return err
	}
	defer content.Close()
	switch back, err := io.ReadAll(content); {
	case err != nil:
		return err
	case !bytes.Equal(back, text):
		return fmt.Errorf("%s gave back other bytes than it was given: do not keep files there", store)
	}
	return nil
}

// gone removes the file, and looks that it is no longer there.
func gone(ctx context.Context, store Store, key string) error {
	if err := store.Remove(ctx, key); err != nil {
		return err
	}
	if _, err := store.Stat(ctx, key); !errors.Is(err, ErrNotFound) {
		return cmp.Or(err, fmt.Errorf("%s still has the file %s after it was removed", store, key))
	}
	return nil
}

func localFile(dir string, content []byte) (*os.File, error) {
	file, err := os.CreateTemp(dir, "check-")
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(content); err != nil {
		file.Close()
		os.Remove(file.Name())
		return nil, err
	}
	return file, nil
}
